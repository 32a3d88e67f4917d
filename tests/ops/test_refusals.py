"""What the charts refuse, word for word: the value that is wrong, and what to do instead."""

import shutil
import tempfile
import unittest
from pathlib import Path

import helm_python

import charts
from charts import CHART, MERCHANT, PARENT, merged

BEGIN = "These values need a change:\n"
ALONE = "the memory ledger burns in one gateway alone; for more set config.ledger.redis"
CLAIM = "a claim serves one gateway alone; for more set data.persistence.enabled to false"
ROLLING = "strategy.type: a rolling update runs two gateways for a while, and "
NEEDED = [
    "image.repository: where your build of the Dockerfile lies, for example registry.example/permyx",
    "config.gateway.routes: what is guarded, at least one route",
    "config.keys.jwks_url, or existingSecrets.jwks: whose tokens are taken",
]

# On top of which set, which values, and all that is said.
REFUSED = [
    ("one-gateway", {"replicaCount": 2}, [f"replicaCount: {ALONE}"]),
    ("one-gateway", {"autoscaling": {"enabled": True}}, [f"autoscaling.enabled: {ALONE}"]),
    ("one-gateway", {"strategy": {"type": "RollingUpdate"}}, [ROLLING + ALONE]),
    # Without a type it is a rolling update too.
    ("one-gateway", {"strategy": {"rollingUpdate": {"maxSurge": 1}}}, [ROLLING + ALONE]),
    ("one-gateway", {"replicaCount": 3, "autoscaling": {"enabled": True}, "strategy": {"type": "RollingUpdate"}},
     [f"replicaCount: {ALONE}", f"autoscaling.enabled: {ALONE}", ROLLING + ALONE]),
    ("several-gateways", {"data": {"persistence": {"enabled": True}}}, [f"replicaCount: {CLAIM}"]),
    ("autoscaled", {"replicaCount": 1, "data": {"persistence": {"enabled": True}}}, [f"autoscaling.enabled: {CLAIM}"]),
    ("one-gateway", {"image": {"repository": "", "tag": ""}}, [NEEDED[0], "image.tag, or image.digest: which build"]),
    ("one-gateway", {"config": {"ledger": {"single_instance": False}}},
     ["config.ledger: `redis` for several gateways, or `single_instance: true` for this one alone"]),
    ("one-gateway", {"config": {"data": "/data"}}, ["config.data: the chart sets it; it is /var/lib/permyx"]),
    ("one-gateway", {"config": {"gateway": {"listen": "0.0.0.0:80"}, "ops": {"listen": "0.0.0.0:81"}}},
     ["config.gateway.listen: the chart sets it; set `listen`", "config.ops.listen: the chart sets it; set `listen`"]),
    ("extras", {"config": {"policies": {"dir": "/p"}, "catalog": {"dir": "/c"}, "gateway": {"presets": "/q"}}},
     ["config.catalog.dir: `catalog` says it; take one away", "config.policies.dir: `policies` says it; take one away",
      "config.gateway.presets: `presets` says it; take one away"]),
    ("secrets", {"config": {"ledger": {"redis": {"password_file": "/p"}}, "keys": {"jwks_file": "/j"}}},
     ["config.ledger.redis.password_file: `existingSecrets.redisPassword` says it; take one away",
      "config.keys.jwks_file: `existingSecrets.jwks` says it; take one away"]),
    ("one-gateway", {"existingSecrets": {"shipKey": {"name": ""}}},
     ["existingSecrets.shipKey, or config.evidence.ship.key_file: the key that events are delivered with"]),
    ("one-gateway", {"policies": {"existingConfigMap": "ours"}}, ["policies: `files` or `existingConfigMap`, not both"]),
    ("protected", {"networkPolicy": {"protect": {"podSelector": None}}},
     ["networkPolicy.protect.podSelector: the labels of the pods that are protected"]),
    ("monitored", {"metrics": {"podMonitor": {"enabled": True}}},
     ["metrics: serviceMonitor or podMonitor, not both, since each would count everything again"]),
    ("sidecar", {"permyx": {"config": {"ledger": {"redis": None, "single_instance": True}}, "existingSecrets": {"redisPassword": {"name": ""}}}},
     ["permyx.config.ledger.redis: each pod of the sidecar form has a gateway, so they must share a ledger; memory holds it for one"]),
    ("sidecar", {"permyx": {"image": {"repository": ""}, "networkPolicy": {"protect": {"podSelector": None}}}},
     ["permyx." + NEEDED[0], "permyx.networkPolicy.protect.podSelector: the labels of the pods that are protected"]),
    ("subchart", {"permyx": {"replicaCount": 2}}, [f"replicaCount: {ALONE}"]),
]

# On top of which set, which values, and what the schema says of them.
UNFIT = [
    ("one-gateway", {"replicas": 2}, "additional properties 'replicas' not allowed"),
    ("one-gateway", {"image": {"name": "permyx"}}, "at '/image': additional properties 'name' not allowed"),
    ("one-gateway", {"replicaCount": "2"}, "at '/replicaCount': got string, want integer"),
    ("one-gateway", {"image": {"digest": "sha256:0"}}, "at '/image/digest'"),
    ("one-gateway", {"config": {"gateway": {"rutes": []}}}, "at '/config/gateway': additional properties 'rutes' not allowed"),
    ("one-gateway", {"config": {"ledger": {"lease_s": "270"}}}, "at '/config/ledger/lease_s': got string, want null or integer"),
    ("one-gateway", {"config": {"ledger": {"durability": "often"}}}, "value must be one of 'aof', 'replicas', 'async'"),
    ("one-gateway", {"policies": {"files": {"store-123.yaml": ""}}}, "at '/policies/files': additional properties 'store-123.yaml' not allowed"),
    ("extras", {"extraVolumeMounts": [{"name": "a", "mountPath": "/a", "subPath": "b"}]}, "at '/extraVolumeMounts/0/subPath'"),
    ("sidecar", {"permyx": {"replicaCount": 2}}, "additional properties 'replicaCount' not allowed"),
    ("subchart", {"permyx": {"config": {"gateway": {"rutes": []}}}}, "additional properties 'rutes' not allowed"),
]


class Refusals(unittest.TestCase):
    def refused(self, chart, values):
        with self.assertRaises(helm_python.HelmError) as raised:
            charts.render(chart, values)
        return str(raised.exception)

    def test_what_cannot_work_is_refused_with_a_fix(self):
        for name, change, said in REFUSED:
            with self.subTest(name, change=change):
                text = self.refused(charts.SETS[name][0], merged(charts.values_of(name), change))
                self.assertEqual(text.split(BEGIN)[-1].strip().splitlines(), [f"- {line}" for line in said])

    def test_the_schema_refuses_what_is_no_value(self):
        for name, change, said in UNFIT:
            with self.subTest(name, change=change):
                text = self.refused(charts.SETS[name][0], merged(charts.values_of(name), change))
                self.assertIn("values don't meet the specifications of the schema", text)
                self.assertIn(said, text)

    def test_what_is_needed_is_named_at_once(self):
        ledger = "config.ledger: `redis` for several gateways, or `single_instance: true` for this one alone"
        text = self.refused(CHART, {})
        self.assertEqual(text.split(BEGIN)[-1].strip().splitlines(), [f"- {line}" for line in [*NEEDED, ledger]])

    def test_the_admin_listener_stays_in_the_pod(self):
        with tempfile.TemporaryDirectory() as place:
            # Without the schema: what it says of an address is not what is asked here.
            chart = shutil.copytree(CHART, Path(place, "permyx"), ignore=shutil.ignore_patterns("values.schema.json"))
            admin = lambda listen: merged(charts.values_of("one-gateway"), {"config": {"admin": {"listen": listen}}})
            for listen in ("0.0.0.0:9901", "[::]:9901", "10.0.0.1:9901", "127.evil:9901"):
                said = f"- config.admin.listen: {listen} can be reached from outside the pod; keep it on 127.0.0.1"
                self.assertIn(said, self.refused(chart, admin(listen)))
            for listen in ("127.0.0.1:9902", "[::1]:9901"):
                charts.render(chart, admin(listen))

    def test_the_library_wants_to_be_called_permyx(self):
        with tempfile.TemporaryDirectory() as place:
            chart = shutil.copytree(MERCHANT, Path(place, "shop"))
            about = (chart / "Chart.yaml").read_text()
            (chart / "Chart.yaml").write_text(about.replace("    alias: permyx\n", ""))
            values = {"permyx": None, "permyx-lib": charts.values_of("sidecar")}
            self.assertIn("name the dependency with `alias: permyx`", self.refused(chart, values))

    def test_a_parent_may_hand_down_global_and_turn_it_off(self):
        values = {"global": {"registry": "anything", "deep": {"er": 1}}, "permyx": {"enabled": True}}
        charts.render(PARENT, merged(charts.values_of("subchart"), values))
        off = charts.render(PARENT, {"permyx": {"enabled": False}})
        self.assertEqual(list(off), ["platform/templates/region.yaml"])
        charts.render(MERCHANT, {"global": {"registry": "anything"}})


if __name__ == "__main__":
    unittest.main()
