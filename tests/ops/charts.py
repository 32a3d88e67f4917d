"""Renders the charts as Helm does, and compares with what was recorded. UPDATE=1 records anew."""

import contextlib
import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import helm_python
import yaml

import stand_ins

ROOT = Path(__file__).resolve().parents[2]
OPS = ROOT / "tests/ops"
EXAMPLES = ROOT / "helm/examples"
CHART = ROOT / "helm/permyx"
LIBRARY = ROOT / "helm/permyx-lib"
MERCHANT = OPS / "merchant-chart"
PARENT = OPS / "parent-chart"
PERMYX = os.environ["PERMYX"]
UPDATE = os.environ.get("UPDATE") == "1"

ONE = EXAMPLES / "one-gateway.yaml"
SEVERAL = (ONE, EXAMPLES / "several-gateways.yaml")


def shipped():
    """Rules and dashboards, and the copies in the chart, which cannot reach outside its directory."""
    alerts, dashboards = ROOT / "conf/alerts/permyx.yaml", ROOT / "conf/dashboards"
    pairs = [(alerts, CHART / "files/alerts.yaml")] if alerts.exists() else []
    return pairs + [(path, CHART / "files/dashboards" / path.name) for path in sorted(dashboards.glob("*.json"))]


# Before anything is rendered.
if UPDATE:
    for original, copy in shipped():
        shutil.copyfile(original, copy)


def value_set(name):
    return OPS / "values" / f"{name}.yaml"


# Each set of values that is rendered: its name, the chart, the files that come one after the other.
SETS = {
    "one-gateway": (CHART, ONE),
    "one-gateway-claim": (CHART, ONE, value_set("claim")),
    "several-gateways": (CHART, *SEVERAL),
    "several-gateways-claim": (CHART, *SEVERAL, value_set("one-replica"), value_set("claim")),
    "autoscaled": (CHART, *SEVERAL, value_set("autoscaled")),
    "secrets": (CHART, *SEVERAL, value_set("secrets")),
    "monitored": (CHART, *SEVERAL, EXAMPLES / "monitored.yaml"),
    "podmonitor": (CHART, ONE, value_set("podmonitor")),
    "protected": (CHART, ONE, EXAMPLES / "protected.yaml"),
    "protected-elsewhere": (CHART, *SEVERAL, EXAMPLES / "protected.yaml", value_set("elsewhere")),
    "extras": (CHART, ONE, value_set("extras")),
    "subchart": (PARENT, ONE),
    "sidecar": (MERCHANT,),
}


def merged(*parts):
    """Values as Helm puts `-f a -f b` together."""
    whole = {}
    for part in parts:
        for key, value in part.items():
            inner = isinstance(value, dict) and isinstance(whole.get(key), dict)
            whole[key] = merged(whole[key], value) if inner else value
    return whole


def values_of(name):
    chart, *files = SETS[name]
    values = merged(*(yaml.safe_load(file.read_text()) for file in files))
    return {"permyx": values} if chart == PARENT else values


@contextlib.contextmanager
def quiet():
    """The engine tells of each symbolic link; nobody needs to know."""
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def render(chart, values):
    """Each template with what became of it, without those of which nothing did."""
    # Loaded anew: a render that turns a dependency off takes it out of the loaded chart.
    with quiet(), helm_python.Chart.load(chart) as loaded:
        rendered = loaded.render(values, name="demo", namespace="shop")
    return {path: text for path, text in sorted(rendered.items()) if text.strip()}


@functools.cache
def rendered(name):
    return render(SETS[name][0], values_of(name))


@functools.cache
def objects(name):
    return objects_of(rendered(name))


def objects_of(templates):
    texts = [text for path, text in templates.items() if not path.endswith("NOTES.txt")]
    return [found for text in texts for found in yaml.load_all(text, yaml.CSafeLoader) if found]


def of_kind(kind, name):
    return [found for found in objects(name) if found["kind"] == kind]


def pod_specs(name):
    """The name of each workload, and the spec of its pods."""
    found = [(pod["metadata"]["name"], pod["spec"]) for pod in of_kind("Pod", name)]
    return found + [(of["metadata"]["name"], of["spec"]["template"]["spec"]) for of in of_kind("Deployment", name)]


def containers(spec):
    return spec.get("initContainers", []) + spec["containers"]


def gateway(name):
    """The container of the gateway."""
    (found,) = [c for _, spec in pod_specs(name) for c in containers(spec) if c["name"] == "permyx"]
    return found


def golden_text(name):
    """What is recorded of a set: all manifests, then the notes. What comes from `files/` is compared elsewhere."""
    parts = []
    for path, text in rendered(name).items():
        if path.endswith("NOTES.txt"):
            continue
        if path.endswith(("dashboards.yaml", "prometheusrule.yaml")):
            text = yaml.safe_dump_all((without_files(found) for found in yaml.safe_load_all(text) if found), allow_unicode=True)
        lines = [line.rstrip() for line in text.strip().removeprefix("---").strip().splitlines()]
        parts.append(f"---\n# Source: {path}\n" + "\n".join(lines) + "\n")
    for path, text in rendered(name).items():
        if path.endswith("NOTES.txt"):
            parts.append("---\n" + "".join(f"# {line}".rstrip() + "\n" for line in text.strip().splitlines()))
    return "".join(parts)


def without_files(found):
    if found["kind"] == "ConfigMap":
        return found | {"data": {name: "…" for name in found["data"]}}
    groups = [group for group in found["spec"]["groups"] if group["name"] == "ours"]
    return found | {"spec": {"groups": ["…", *groups]}}


def differs(path, text):
    """Whether a recorded file says something else; with UPDATE=1 it is written instead."""
    if UPDATE:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return not path.exists() or path.read_text() != text


def permyx(*arguments):
    """Runs the program; its exit code, and all that it said."""
    ran = subprocess.run([PERMYX, *map(str, arguments)], capture_output=True, text=True, timeout=60)
    return ran.returncode, ran.stdout + ran.stderr


def on_disk(name):
    """What the gateway of a set finds under /etc."""
    (volumes,) = [spec["volumes"] for _, spec in pod_specs(name) if gateway(name) in containers(spec)]
    return mounted(gateway(name), volumes, {of["metadata"]["name"]: of.get("data") for of in of_kind("ConfigMap", name)})


@contextlib.contextmanager
def mounted(container, volumes, maps):
    """A directory that stands for /etc/permyx, with the files of the mounts of a container."""
    volumes = {volume["name"]: volume for volume in volumes}
    with tempfile.TemporaryDirectory() as place:
        for mount in container["volumeMounts"]:
            volume, directory = volumes[mount["name"]], Path(place, mount["mountPath"].lstrip("/"))
            if "configMap" in volume:
                files = maps.get(volume["configMap"]["name"]) or stand_ins.CONFIGMAPS[volume["configMap"]["name"]]
            elif "secret" in volume:
                files = stand_ins.secret(volume["secret"]["secretName"])
            else:
                continue
            publish(directory, {file: text.replace('"/etc/', f'"{place}/etc/') for file, text in files.items()})
        yield Path(place, "etc/permyx")


def publish(directory, files):
    """Puts files into a mounted directory as a node does: all at once, by moving one link."""
    directory.mkdir(parents=True, exist_ok=True)
    version = Path(tempfile.mkdtemp(prefix="..", dir=directory))
    version.chmod(0o755)
    for file, text in files.items():
        (version / file).write_text(text)
        if not (directory / file).is_symlink():
            (directory / file).symlink_to(Path("..data", file))
    (directory / "..data_tmp").symlink_to(version.name)
    (directory / "..data_tmp").replace(directory / "..data")
