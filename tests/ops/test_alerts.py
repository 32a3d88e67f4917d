"""The rules: well formed, each tested, each with a page, and about metrics that a running instance has."""

import functools
import json
import re
import subprocess
import time
import unittest

import yaml

from running import PERMYX, ROOT, Traffic, names, stage

ALERTS = ROOT / "conf/alerts"
RUNBOOKS = ROOT / "docs/runbooks"
URL = "https://github.com/permyx/permyx/blob/main/docs/runbooks/"
METRIC = re.compile(r"\b(?:permyx|process)_[a-z0-9_]+\b")
RECORDED = re.compile(r"\bpermyx:[a-z0-9_:]+")
SELECTOR = re.compile(r"\b((?:permyx|process)_[a-z0-9_]+)\{([^}]*)\}")
# What Prometheus adds to every series.
TARGET = {"job", "instance", "namespace"}


def promtool(*line, **options):
    return subprocess.run(["promtool", *map(str, line)], capture_output=True, text=True, timeout=120, **options)


@functools.cache
def help_of(*verbs):
    told = subprocess.run([PERMYX, *verbs, "--help"], capture_output=True, text=True, timeout=30)
    return told.stdout if told.returncode == 0 else ""


def rules(kind):
    groups = yaml.safe_load((ALERTS / "permyx.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"] if kind in rule]


def slug(alert):
    """`PermyxLedgerDown` → `ledger-down`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", alert.removeprefix("Permyx")).lower()


def dashboards():
    return [json.loads(path.read_text()) for path in sorted((ROOT / "conf/dashboards").glob("*.json"))]


def queries(dashboard):
    return [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]


def objectives():
    return yaml.safe_load((ALERTS / "slo.yaml").read_text())["slos"]


def objective_queries(window, step="1m"):
    for slo in objectives():
        for query in next(iter(slo["sli"].values())).values():
            yield slo["name"], query.replace("{{.window}}:1m", f"{window}:{step}").replace("{{.window}}", window)


def expressions():
    """Everything that is asked of Prometheus: rules, dashboards, objectives."""
    yield from (rule["expr"] for kind in ("record", "alert") for rule in rules(kind))
    yield from (query for dashboard in dashboards() for query in queries(dashboard))
    yield from (query for _, query in objective_queries("5m"))


class Rules(unittest.TestCase):
    def test_promtool_accepts_them(self):
        checked = promtool("check", "rules", ALERTS / "permyx.yaml")
        self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)

    def test_the_unit_tests_pass(self):
        tested = promtool("test", "rules", ALERTS / "permyx_test.yaml")
        self.assertEqual(tested.returncode, 0, tested.stdout + tested.stderr)

    def test_each_alert_is_tested_firing_and_silent(self):
        fires, silent = set(), set()
        for test in yaml.safe_load((ALERTS / "permyx_test.yaml").read_text())["tests"]:
            for case in test["promql_expr_test"]:
                named = re.search(r'alertname="(\w+)"', case["expr"])
                if named:
                    (fires if case["exp_samples"] else silent).add(named[1])
        alerts = {rule["alert"] for rule in rules("alert")}
        self.assertEqual(fires, alerts)
        self.assertEqual(silent, alerts)

    def test_each_alert_says_what_to_do(self):
        for rule in rules("alert"):
            with self.subTest(rule["alert"]):
                self.assertIn(rule["labels"]["severity"], ("page", "ticket"))
                told = rule["annotations"]
                self.assertEqual(told["runbook_url"], f"{URL}{slug(rule['alert'])}.md")
                self.assertLess(len(told["summary"]), 140)
                self.assertGreater(len(told["description"]), 80)
                self.assertNotIn("\n", told["description"])

    def test_each_alert_has_a_page_and_each_page_an_alert(self):
        alerts = {slug(rule["alert"]): rule for rule in rules("alert")}
        pages = {path.stem: path.read_text() for path in RUNBOOKS.glob("*.md") if path.stem != "README"}
        self.assertEqual(set(pages), set(alerts))
        index = (RUNBOOKS / "README.md").read_text()
        for name, page in pages.items():
            with self.subTest(name):
                self.assertTrue(page.startswith(f"# {alerts[name]['alert']}\n"))
                parts = re.findall(r"^\*\*([A-Z][^*]+)\.\*\*", page, re.MULTILINE)
                self.assertEqual(parts, ["It means", "It costs", "Look", "Mend", "Harmless"])
                self.assertIn(f"| [{alerts[name]['alert']}]({name}.md) | {alerts[name]['labels']['severity']} |", index)

    def test_commands_of_the_pages_exist(self):
        """Each `permyx …` of a page is a verb of the program, with flags that it has."""
        for page in sorted(RUNBOOKS.glob("*.md")):
            code = re.findall(r"`([^`\n]+)`|^    (.+)$", page.read_text(), re.MULTILINE)
            for line in sorted({span or block for span, block in code if (span or block).startswith("permyx ")}):
                verbs = re.match(r"permyx((?: (?!last\b)[a-z][a-z-]*(?=\s|$)){1,3})", line)[1].split()
                with self.subTest(page=page.name, command=line):
                    told = help_of(*verbs)
                    self.assertNotEqual(told, "")
                    for flag in re.findall(r"(?<=\s)--[a-z-]+", line):
                        self.assertIn(flag, told)

    def test_the_alerts_and_the_objectives_count_the_same(self):
        """The numbers stand in two files; they are one."""
        by_name = {slo["name"]: slo for slo in objectives()}
        budget = round(1 - by_name["availability"]["objective"] / 100, 6)
        burns = [rule["expr"] for rule in rules("alert") if "ErrorBudget" in rule["alert"]]
        self.assertEqual(len(burns), 2)
        for expr in burns:
            self.assertEqual(set(re.findall(r"\* (0\.\d+)", expr)), {f"{budget:.4f}"})
        counted = by_name["availability"]["sli"]["events"]["error_query"]
        selectors = [SELECTOR.findall(rule["expr"]) for rule in rules("record") if ":failures:" in rule["record"]]
        self.assertEqual(selectors, [SELECTOR.findall(counted)] * 4)
        ours = re.compile(r'faults_total\{[^}]*code=~"([^"]+)"')
        codes = {found for expression in expressions() for found in ours.findall(expression)}
        self.assertEqual(codes, set(ours.findall(counted)))

    def test_recorded_series_that_are_used_are_recorded(self):
        used = {name for expression in expressions() for name in RECORDED.findall(expression)}
        self.assertEqual(used - {rule["record"] for rule in rules("record")}, set())


class Running(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stage = stage()
        traffic = Traffic(cls.stage.setting)
        time.sleep(4)
        traffic.close()
        if traffic.failure:
            raise traffic.failure
        cls.pages = {which: cls.stage.setting.metrics(which) for which in ("dev", "gateway")}

    def test_promtool_accepts_the_metrics(self):
        for which, page in self.pages.items():
            with self.subTest(which):
                checked = promtool("check", "metrics", input=page)
                self.assertEqual((checked.returncode, checked.stdout + checked.stderr), (0, ""))

    def test_every_metric_that_is_used_exists(self):
        exported = set().union(*map(names, self.pages.values()))
        used = {name for expression in expressions() for name in METRIC.findall(expression)}
        self.assertEqual(used - exported, set())

    def test_every_label_that_is_asked_for_exists(self):
        lines = [line for page in self.pages.values() for line in page.splitlines()]
        told = {}
        for line in lines:
            name = re.match(r"\w+(?=\{)", line)
            if name:
                told.setdefault(name[0], set()).update(re.findall(r'(\w+)="', line))
        for expression in sorted(set(expressions())):
            with self.subTest(expression):
                for name, matchers in SELECTOR.findall(expression):
                    asked = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", matchers)) - TARGET
                    self.assertEqual(asked - told.get(name, set()), set(), name)
                    for bound in re.findall(r'le="[^"]+"', matchers):
                        self.assertTrue(any(line.startswith(name) and bound in line for line in lines), bound)
                grouped = {label for by in re.findall(r"by \(([^)]*)\)", expression) for label in by.split(", ")}
                known = set().union(*(told.get(name, set()) for name in METRIC.findall(expression)))
                self.assertEqual(grouped - TARGET - known if METRIC.search(expression) else set(), set())

    def test_nothing_rings_while_all_is_well(self):
        self.assertEqual(self.stage.quiet_alerts, set())
        self.assertEqual([age for age in self.stage.quiet_checkpoint_s if age > 5], [])

    def test_our_failures_are_counted_and_the_merchants_are_not(self):
        """The gateway was without its ledger, and a merchant of it cannot be reached at all."""
        counted = {
            series["metric"]["job"]: float(series["value"][1])
            for series in self.stage.setting.query("permyx:failures:rate5m")
        }
        self.assertEqual(counted["permyx"], 0)
        lines = self.pages["gateway"].splitlines()
        refused = [line for line in lines if line.startswith("permyx_faults_total{") and "LEDGER_UNAV" in line]
        refused = sum(float(line.split()[-1]) for line in refused)
        self.assertEqual(refused, 4)
        # The first of them is the birth of the series, which a rate does not see.
        self.assertTrue(0 < counted["permyx-gateway"] * 300 <= refused * 1.5, counted)
        (unreachable,) = [line for line in lines if 'route="nowhere"' in line and 'code_class="5xx"' in line]
        self.assertIn('decision="denied"', unreachable)
        theirs = [line for line in lines if line.startswith("permyx_faults_total{") and "UPSTREAM_UNAV" in line]
        self.assertEqual([line.split()[-1] for line in theirs], [unreachable.split()[-1]])

    def test_what_went_wrong_rings_and_nothing_else(self):
        firing = {name for name, state in self.stage.setting.alerts() if state == "firing"}
        self.assertEqual(firing, {"PermyxEvidenceGap", "PermyxBypassing", "PermyxIndeterminate"})


if __name__ == "__main__":
    unittest.main()
