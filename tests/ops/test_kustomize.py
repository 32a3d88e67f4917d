"""The kustomize component. Kustomize itself is in no registry that the tests install from, so what it
does with the component is done here; where there is a kubectl, it has to come to the same."""

import copy
import shutil
import subprocess
import unittest

import kubernetes_validate
import yaml

import charts
from charts import EXAMPLES, ROOT

COMPONENT = ROOT / "helm/kustomize/sidecar"
EXAMPLE = EXAMPLES / "kustomize"


def read(path):
    return list(yaml.safe_load_all(path.read_text()))


def prepended(base, patch):
    """A strategic merge, as far as the component needs one: lists of named things get the new ones first."""
    whole = copy.deepcopy(base)
    for key, value in patch.items():
        if isinstance(value, dict):
            whole[key] = prepended(whole.get(key, {}), value)
        elif isinstance(value, list):
            names = {of["name"] for of in value}
            assert not names & {of["name"] for of in whole.get(key, [])}, "a patch of what is there already"
            whole[key] = value + whole.get(key, [])
        else:
            whole[key] = value
    return whole


def built():
    """The example as kustomize would build it."""
    overlay = read(EXAMPLE / "kustomization.yaml")[0]
    component = read(COMPONENT / "kustomization.yaml")[0]
    found = [of for file in overlay["resources"] for of in read(EXAMPLE / file)]
    for patch in component["patches"]:
        (change,) = read(COMPONENT / patch["path"])
        label, value = patch["target"]["labelSelector"].split("=")
        for place, of in enumerate(found):
            if of["kind"] != patch["target"]["kind"] or of["metadata"]["labels"].get(label) != value:
                continue
            if isinstance(change, list):
                ((operation,),) = (change,)
                assert (operation["op"], operation["path"]) == ("add", "/spec/ports/0/targetPort")
                of["spec"]["ports"][0]["targetPort"] = operation["value"]
            else:
                found[place] = prepended(of, {"spec": change["spec"]})
    (image,) = overlay["images"]
    for of in found:
        if of["kind"] == "Deployment":
            for container in charts.containers(of["spec"]["template"]["spec"]):
                if container["image"] == image["name"]:
                    container["image"] = f"{image['newName']}:{image['newTag']}"
    return found


class Component(unittest.TestCase):
    def test_the_shop_gets_the_sidecar_first_and_its_service_leads_there(self):
        deployment, service = built()
        spec = deployment["spec"]["template"]["spec"]
        self.assertEqual([of["name"] for of in spec["initContainers"]], ["permyx", "migrate"])
        self.assertEqual([of["name"] for of in spec["containers"]], ["shop"])
        self.assertEqual(service["spec"]["ports"], [{"name": "http", "port": 80, "targetPort": "pmx-http"}])
        for of in (deployment, service):
            for version in ("1.29.0", "1.37.0"):
                kubernetes_validate.validate(of, version, strict=True)

    def test_its_container_and_volumes_are_those_of_the_chart(self):
        spec = built()[0]["spec"]["template"]["spec"]
        self.assertEqual(spec["initContainers"][0], charts.gateway("sidecar"))
        ((_, rendered),) = charts.pod_specs("sidecar")
        named = {"demo-permyx-conf": "permyx-conf", "demo-permyx-policies": "permyx-policies"}
        expected = copy.deepcopy(rendered["volumes"])
        for volume in expected:
            if "configMap" in volume:
                volume["configMap"]["name"] = named[volume["configMap"]["name"]]
        self.assertEqual(spec["volumes"], expected)

    def test_kubectl_comes_to_the_same(self):
        if not shutil.which("kubectl"):
            self.skipTest("there is no kubectl here")
        ran = subprocess.run(["kubectl", "kustomize", EXAMPLE], capture_output=True, text=True, check=True)
        by_kind = {of["kind"]: of for of in yaml.safe_load_all(ran.stdout) if of["kind"] != "ConfigMap"}
        (conf,) = [of["metadata"]["name"] for of in yaml.safe_load_all(ran.stdout) if "permyx.toml" in of.get("data", {})]
        self.assertRegex(conf, "^permyx-conf-[a-z0-9]+$")
        for volume in by_kind["Deployment"]["spec"]["template"]["spec"]["volumes"]:
            if volume["name"] == "permyx-conf":
                self.assertEqual(volume["configMap"].pop("name"), conf)
                volume["configMap"]["name"] = "permyx-conf"
        self.assertEqual([by_kind["Deployment"], by_kind["Service"]], built())

    def test_its_configuration_and_policies_are_good(self):
        with charts.mounted(charts.gateway("sidecar"), built()[0]["spec"]["template"]["spec"]["volumes"], {
            "permyx-conf": {"permyx.toml": (EXAMPLE / "permyx.toml").read_text()},
            "permyx-policies": {path.name: path.read_text() for path in (EXAMPLE / "policies").iterdir()},
        }) as place:
            code, said = charts.permyx("check", "--config", place / "conf/permyx.toml")
            self.assertEqual(code, 0, said)


if __name__ == "__main__":
    unittest.main()
