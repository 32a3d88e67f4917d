"""What the charts render: recorded, valid for Kubernetes, and read by the program itself."""

import copy
import difflib
import json
import shutil
import sys
import tempfile
import tomllib
import unittest
from pathlib import Path

import helm_python
import kubernetes_validate
import yaml

import charts
from charts import CHART, LIBRARY, MERCHANT, PARENT, ROOT, SETS

# The oldest that knows native sidecars, and the newest that is known here.
KUBERNETES = ("1.29.0", "1.37.0")
# Not of Kubernetes itself: test_monitoring.py looks at these.
OPERATOR = {"ServiceMonitor", "PodMonitor", "PrometheusRule"}
GOLDEN = ROOT / "tests/golden/helm"


class Rendered(unittest.TestCase):
    def test_every_set_is_rendered_as_recorded(self):
        for name in SETS:
            with self.subTest(name):
                path, text = GOLDEN / f"{name}.yaml", charts.golden_text(name)
                recorded = path.read_text() if path.exists() else ""
                changed = "\n".join(difflib.unified_diff(recorded.splitlines(), text.splitlines(), lineterm=""))
                self.assertFalse(charts.differs(path, text), f"UPDATE=1 .ci/ops records this:\n{changed}")

    def test_nothing_is_recorded_that_is_not_rendered(self):
        self.assertEqual({path.stem for path in GOLDEN.iterdir()}, set(SETS))

    def test_every_object_is_valid_for_the_oldest_and_the_newest_kubernetes(self):
        for name in SETS:
            for found in charts.objects(name):
                if found["kind"] in OPERATOR:
                    continue
                for version in KUBERNETES:
                    with self.subTest(name, kind=found["kind"], name=found["metadata"]["name"], version=version):
                        kubernetes_validate.validate(found, version, strict=True)

    def test_an_invalid_object_is_seen(self):
        (deployment,) = copy.deepcopy(charts.of_kind("Deployment", "sidecar"))
        deployment["spec"]["template"]["spec"]["initContainers"][0]["restartpolicy"] = "Always"
        for version in KUBERNETES:
            with self.assertRaises(kubernetes_validate.ValidationError):
                kubernetes_validate.validate(deployment, version, strict=True)

    def test_no_object_is_there_twice(self):
        for name in SETS:
            names = [(of["kind"], of["metadata"].get("namespace"), of["metadata"]["name"]) for of in charts.objects(name)]
            self.assertEqual(len(names), len(set(names)), name)

    def test_the_charts_are_lint_free(self):
        for name, chart, values in [(name, SETS[name][0], charts.values_of(name)) for name in SETS] + [("library", LIBRARY, {})]:
            with self.subTest(name), charts.quiet():
                report = helm_python.lint(chart, values, strict=True, with_subcharts=True)
            said = [m for m in report["messages"] if m["error"] != "icon is recommended"]
            self.assertEqual((said, report["errors"]), ([], []), name)

    def test_the_library_is_found_without_building_dependencies(self):
        for chart in (CHART, MERCHANT, PARENT):
            with charts.quiet():
                listed = helm_python.dependency_list(chart)
            self.assertEqual([of["status"] for of in listed], ["unpacked"], chart)

    def test_helm_dependency_update_comes_to_the_same(self):
        """Who goes by the book, without the links, gets the library as an archive from beside the chart."""
        with tempfile.TemporaryDirectory() as place, charts.quiet():
            shutil.copytree(ROOT / "helm", Path(place, "helm"), symlinks=True)
            chart = Path(place, "helm/permyx")
            (chart / "charts/permyx-lib").unlink()
            helm_python.dependency_update(chart)
            self.assertEqual([of.name for of in (chart / "charts").iterdir()], ["permyx-lib-0.1.0.tgz"])
            self.assertEqual(charts.render(chart, charts.values_of("monitored")), charts.rendered("monitored"))

    def test_a_packaged_chart_renders_the_same(self):
        with tempfile.TemporaryDirectory() as place, charts.quiet():
            with helm_python.Chart.load(helm_python.package(CHART, destination=place)) as packed:
                text = packed.render(charts.values_of("monitored"), name="demo", namespace="shop")
        self.assertEqual({path: of for path, of in text.items() if of.strip()}, charts.rendered("monitored"))


class Read(unittest.TestCase):
    """The program reads what the charts write."""

    def test_the_configuration_of_every_set_is_good(self):
        for name in SETS:
            with self.subTest(name), charts.on_disk(name) as place:
                code, said = charts.permyx("config", "validate", place / "conf/permyx.toml")
                self.assertEqual(code, 0, said)

    def test_the_policies_of_every_set_are_good(self):
        for name in SETS:
            with self.subTest(name), charts.on_disk(name) as place:
                if (place / "policies").exists():
                    code, said = charts.permyx("policy", "validate", place / "policies")
                    self.assertEqual(code, 0, said)

    def test_the_gateway_would_start_with_it(self):
        for name in SETS:
            with self.subTest(name), charts.on_disk(name) as place:
                code, said = charts.permyx("check", "--config", place / "conf/permyx.toml")
                self.assertEqual(code, 0, said)
                self.assertIn("errors: 0", said)

    def test_whole_numbers_stay_whole(self):
        values = charts.values_of("one-gateway")
        values["config"] |= {"ledger": {"single_instance": True, "capacity": 10_000_000, "deadline_ms": 250}}
        values["config"]["evidence"]["spool_limit"] = 1 << 40
        values["config"]["gateway"]["routes"][0]["override"] = {"deep": [{"whole": 3, "half": 1.5, "text": "5"}]}
        (text,) = [of["data"]["permyx.toml"] for of in charts.objects_of(charts.render(CHART, values))
                   if of["metadata"]["name"] == "demo-permyx-conf"]
        read = tomllib.loads(text)
        self.assertEqual(json.dumps(read["ledger"]), '{"capacity": 10000000, "deadline_ms": 250, "single_instance": true}')
        self.assertEqual(read["evidence"]["spool_limit"], 1 << 40)
        self.assertEqual(json.dumps(read["gateway"]["routes"][0]["override"]), '{"deep": [{"half": 1.5, "text": "5", "whole": 3}]}')


class Values(unittest.TestCase):
    def test_the_schemas_are_those_of_the_program(self):
        sys.path.insert(0, str(ROOT / "helm"))
        import schema

        for chart, text in schema.schemas(charts.PERMYX).items():
            path = ROOT / "helm" / chart / "values.schema.json"
            self.assertFalse(charts.differs(path, text), f"{path.name} of {chart}: run helm/schema.py")

    def test_every_value_is_explained_and_in_the_schema(self):
        for chart in (CHART, LIBRARY):
            schema = json.loads((chart / "values.schema.json").read_text())
            lines = (chart / "values.yaml").read_text().splitlines()
            for path, line in leaves(yaml.compose("\n".join(lines))):
                with self.subTest(f"{chart.name}: {'.'.join(path)}"):
                    above = lines[line - 1].strip()
                    comment = lines[:line][::-1]
                    comment = [of.strip() for of in comment[: next(i for i, of in enumerate(comment) if not of.strip().startswith("#"))]]
                    self.assertTrue(any(of.startswith("# -- ") for of in comment), above)
                    self.assertTrue(known(schema, schema, path))

    def test_both_forms_have_the_same_values_in_common(self):
        """The values of the sidecar are those of the gateway, where both have them."""
        gateway, sidecar = (yaml.safe_load((chart / "values.yaml").read_text()) for chart in (CHART, LIBRARY))
        both = set(gateway) & set(sidecar) - {"data", "networkPolicy"}
        self.assertGreater(len(both), 10)
        self.assertEqual({key: gateway[key] for key in both}, {key: sidecar[key] for key in both})

    def test_the_charts_are_as_old_as_the_program(self):
        version = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]
        for chart in (CHART, LIBRARY):
            about = yaml.safe_load((chart / "Chart.yaml").read_text())
            tag = yaml.safe_load((chart / "values.yaml").read_text())["image"]["tag"]
            self.assertEqual((about["version"], about["appVersion"], tag), (version, version, version))


def leaves(node, path=()):
    """Each value of a values.yaml that is set as one, and the line where it stands."""
    for key, value in node.value:
        at = (*path, key.value)
        block = isinstance(value, yaml.MappingNode) and value.value and not value.flow_style
        if block and at[-1] not in ("resources", "securityContext", "podSecurityContext"):
            yield from leaves(value, at)
        else:
            yield at, key.start_mark.line


def known(schema, root, path):
    if "$ref" in schema:
        schema = root["definitions"][schema["$ref"].rsplit("/", 1)[-1]]
    return not path or (path[0] in schema.get("properties", {}) and known(schema["properties"][path[0]], root, path[1:]))


if __name__ == "__main__":
    unittest.main()
