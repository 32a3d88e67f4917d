"""Monitors, rules and dashboards in the chart. Whether the rules are good is tested beside them."""

import json
import subprocess
import tempfile
import unittest
from pathlib import Path

import yaml

import charts
from charts import CHART, ROOT, SETS

FILES = CHART / "files"


class Files(unittest.TestCase):
    """A chart cannot reach outside its directory, so it carries copies."""

    def test_the_copies_are_those_of_conf(self):
        for original, copy in charts.shipped():
            self.assertEqual(original.read_bytes(), copy.read_bytes(), f"{copy.name}: UPDATE=1 .ci/ops copies it")

    def test_nothing_is_shipped_that_is_not_in_conf(self):
        if (ROOT / "conf/dashboards").exists():
            names = {path.name for path in (ROOT / "conf/dashboards").glob("*.json")}
            self.assertEqual({path.name for path in (FILES / "dashboards").iterdir()}, names)


class Objects(unittest.TestCase):
    def test_the_service_monitor_finds_its_service_and_the_service_its_pods(self):
        (monitor,) = charts.of_kind("ServiceMonitor", "monitored")
        self.assertEqual(monitor["apiVersion"], "monitoring.coreos.com/v1")
        self.assertEqual(monitor["metadata"]["labels"]["release"], "prometheus")
        self.assertEqual(monitor["spec"]["endpoints"], [{"port": "metrics", "path": "/metrics", "interval": "15s"}])
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        (service,) = [of for of in charts.of_kind("Service", "monitored") if wanted <= of["metadata"]["labels"].items()]
        self.assertEqual(service["metadata"]["name"], "demo-permyx-metrics")
        self.assertEqual(service["metadata"]["labels"][monitor["spec"]["jobLabel"]], "permyx")
        self.assertEqual(service["spec"]["ports"], [{"name": "metrics", "port": 9464, "targetPort": "pmx-metrics"}])

    def test_the_pod_monitor_finds_the_pods(self):
        (monitor,) = charts.of_kind("PodMonitor", "podmonitor")
        self.assertEqual(monitor["apiVersion"], "monitoring.coreos.com/v1")
        (workload,) = charts.of_kind("Deployment", "podmonitor")
        self.assertEqual(monitor["spec"]["selector"], workload["spec"]["selector"])
        self.assertEqual(workload["spec"]["template"]["metadata"]["labels"][monitor["spec"]["jobLabel"]], "permyx")
        (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
        self.assertEqual((endpoint["port"], endpoint["path"]), ("pmx-metrics", "/metrics"))
        self.assertIn("pmx-metrics", [port["name"] for port in charts.gateway("podmonitor")["ports"]])
        self.assertEqual(endpoint["relabelings"][0]["targetLabel"], "node")

    def test_the_rule_holds_the_shipped_groups_and_prometheus_takes_them(self):
        shipped = yaml.safe_load((FILES / "alerts.yaml").read_text())["groups"]
        for name in ("monitored", "podmonitor"):
            (rule,) = charts.of_kind("PrometheusRule", name)
            self.assertEqual(rule["apiVersion"], "monitoring.coreos.com/v1")
            groups = rule["spec"]["groups"]
            self.assertEqual(groups[: len(shipped)], shipped)
            self.assertEqual([group["name"] for group in groups[len(shipped) :]], ["ours"] if name == "podmonitor" else [])
            with tempfile.TemporaryDirectory() as place:
                file = Path(place) / "rules.yaml"
                file.write_text(yaml.safe_dump({"groups": groups}))
                ran = subprocess.run(["promtool", "check", "rules", file], capture_output=True, text=True)
                self.assertEqual(ran.returncode, 0, ran.stdout + ran.stderr)

    def test_each_dashboard_is_a_configmap_that_grafana_finds(self):
        found = [of for of in charts.of_kind("ConfigMap", "monitored") if of["metadata"]["labels"].get("grafana_dashboard") == "1"]
        data = {name: text for of in found for name, text in of["data"].items()}
        files = {f"permyx-{path.name}": path.read_text() for path in (FILES / "dashboards").iterdir()}
        self.assertEqual({name: json.loads(text) for name, text in data.items()}, {name: json.loads(text) for name, text in files.items()})
        self.assertEqual(len(found), len(files))

    def test_nothing_of_it_is_there_unless_asked_for(self):
        for name in set(SETS) - {"monitored", "podmonitor"}:
            kinds = {of["kind"] for of in charts.objects(name)}
            self.assertFalse(kinds & {"ServiceMonitor", "PodMonitor", "PrometheusRule"}, name)


if __name__ == "__main__":
    unittest.main()
