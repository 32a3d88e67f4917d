"""The dashboards: every query of every panel gives data, from running instances, under a real Prometheus."""

import math
import time
import unittest

from running import Traffic, stage
from test_alerts import dashboards, objective_queries, queries

VARIABLES = {"$job": ".*", "$instance": ".*", "$__rate_interval": "15s", "${datasource}": "prometheus"}
# A query may wait for its rate to begin.
PATIENCE_S = 20


def substituted(query):
    for name, value in VARIABLES.items():
        query = query.replace(name, value)
    return query


class Form(unittest.TestCase):
    def test_they_are_whole_and_alike(self):
        boards = dashboards()
        self.assertEqual([board["uid"] for board in boards], ["permyx-evidence", "permyx-instance", "permyx-overview"])
        for board in boards:
            with self.subTest(board["uid"]):
                self.assertEqual(board["schemaVersion"], 39)
                variables = [variable["name"] for variable in board["templating"]["list"]]
                self.assertEqual(variables[:2], ["datasource", "job"])
                ids = [panel["id"] for panel in board["panels"]]
                self.assertEqual(len(ids), len(set(ids)))
                self.assertEqual(board["panels"][0]["type"], "row")
                unused = [name for name in variables[1:] if f"${name}" not in "".join(queries(board))]
                self.assertEqual(unused, [])
                for panel in board["panels"]:
                    if panel["type"] == "row":
                        continue
                    self.assertGreater(len(panel["description"]), 10, panel["title"])
                    self.assertEqual(panel["datasource"], {"type": "prometheus", "uid": "${datasource}"})
                    self.assertTrue(panel["fieldConfig"]["defaults"]["unit"], panel["title"])
                    self.assertTrue(panel["targets"], panel["title"])

    def test_no_two_panels_overlap(self):
        for board in dashboards():
            taken = set()
            for panel in board["panels"]:
                at = panel["gridPos"]
                cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
                self.assertFalse(cells & taken, f"{board['uid']}: {panel['title']}")
                self.assertLessEqual(at["x"] + at["w"], 24)
                taken |= cells


class Data(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stage = stage()
        cls.traffic = Traffic(cls.stage.setting)
        cls.addClassCleanup(cls.traffic.close)

    def finite(self, query):
        series = self.stage.setting.query(query)
        return any(math.isfinite(float(one["value"][1])) for one in series)

    def without_data(self, asked):
        """Those that give no finite number within the time that a rate needs."""
        ends = time.monotonic() + PATIENCE_S
        while asked and time.monotonic() < ends:
            asked = [(name, query) for name, query in asked if not self.finite(query)]
            if asked:
                time.sleep(1)
        self.assertIsNone(self.traffic.failure)
        return asked

    def test_every_query_of_every_panel_gives_data(self):
        asked = [
            (f"{board['uid']}: {panel['title']}", substituted(target["expr"]))
            for board in dashboards() for panel in board["panels"] for target in panel.get("targets", [])
        ]
        self.assertGreater(len(asked), 60)
        self.assertEqual(self.without_data(asked), [])

    def test_every_query_of_the_objectives_gives_data(self):
        self.assertEqual(self.without_data(list(objective_queries("15s", "1s"))), [])

    def test_every_recording_rule_gives_data_and_no_rule_fails(self):
        rules = [rule for group in self.stage.setting.rule_groups() for rule in group["rules"]]
        self.assertEqual([(rule["name"], rule.get("lastError")) for rule in rules if rule["health"] != "ok"], [])
        recorded = [rule["name"] for rule in rules if rule["type"] == "recording"]
        self.assertGreater(len(recorded), 12)
        self.assertEqual(self.without_data([(name, name) for name in recorded]), [])


if __name__ == "__main__":
    unittest.main()
