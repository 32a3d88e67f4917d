"""What holds for every pod of every set: what users of other charts complained about, does not happen here."""

import unittest

import charts
from charts import CHART, MERCHANT, SETS, merged

OURS = {"permyx", "check", "bypass-0", "bypass-1"}
SIDECAR = "sidecar"


def everything():
    for name in SETS:
        for pod, spec in charts.pod_specs(name):
            for container in charts.containers(spec):
                yield f"{name}: {pod}: {container['name']}", spec, container


def render(name, *changes):
    return charts.objects_of(charts.render(SETS[name][0], merged(charts.values_of(name), *changes)))


def one(kind, found):
    (only,) = [of for of in found if of["kind"] == kind]
    return only


class Security(unittest.TestCase):
    def test_every_container_fits_the_restricted_profile(self):
        """The controls of the Pod Security Standards, and more for our own containers."""
        for at, spec, container in everything():
            with self.subTest(at):
                pod, own = spec.get("securityContext", {}), container["securityContext"]
                self.assertTrue(own.get("runAsNonRoot", pod.get("runAsNonRoot")))
                self.assertNotEqual(own.get("runAsUser", pod.get("runAsUser", 1)), 0)
                self.assertIs(own["allowPrivilegeEscalation"], False)
                self.assertEqual(own["capabilities"], {"drop": ["ALL"]})
                self.assertEqual(own.get("seccompProfile", pod.get("seccompProfile")), {"type": "RuntimeDefault"})
                self.assertFalse(own.get("privileged"))
                for member in ("hostNetwork", "hostPID", "hostIPC"):
                    self.assertNotIn(member, spec)
                self.assertFalse([port for port in container.get("ports", []) if "hostPort" in port])
                kinds = {kind for volume in spec.get("volumes", []) for kind in volume} - {"name"}
                self.assertLessEqual(kinds, {"configMap", "secret", "emptyDir", "persistentVolumeClaim"})
                if container["name"] in OURS:
                    self.assertEqual((own["runAsUser"], own["runAsGroup"]), (65532, 65532))
                    self.assertIs(own["readOnlyRootFilesystem"], True)
                    self.assertIn("memory", container["resources"]["limits"])

    def test_no_pod_of_the_chart_holds_a_token_of_kubernetes(self):
        for name in set(SETS) - {SIDECAR}:
            for pod, spec in charts.pod_specs(name):
                self.assertIs(spec["automountServiceAccountToken"], False, f"{name}: {pod}")
            for account in charts.of_kind("ServiceAccount", name):
                self.assertIs(account["automountServiceAccountToken"], False, name)

    def test_no_secret_is_rendered(self):
        for name in SETS:
            self.assertEqual(charts.of_kind("Secret", name), [], name)

    def test_the_admin_listener_is_exposed_nowhere(self):
        """A port that is not declared can still be reached, so it listens on 127.0.0.1: see test_refusals.py."""
        for at, _, container in everything():
            if container["name"] == "permyx":
                self.assertEqual([port["name"] for port in container["ports"]], ["pmx-http", "pmx-metrics"], at)
        for name in SETS:
            self.assertNotIn("9901", charts.golden_text(name), name)
            for policy in charts.of_kind("NetworkPolicy", name):
                for rule in policy["spec"]["ingress"]:
                    self.assertTrue(rule["ports"], f"{name}: a rule without ports opens all of them")


class Files(unittest.TestCase):
    def test_directories_are_mounted_so_that_changes_arrive(self):
        for at, _, container in everything():
            for mount in container.get("volumeMounts", []):
                self.assertLessEqual(set(mount), {"name", "mountPath", "readOnly"}, at)
                self.assertTrue(mount.get("readOnly") or mount["mountPath"] == "/var/lib/permyx", at)

    def test_every_mount_has_its_volume_and_every_volume_its_mount(self):
        for name in SETS:
            for pod, spec in charts.pod_specs(name):
                mounted = {mount["name"] for of in charts.containers(spec) for mount in of.get("volumeMounts", [])}
                self.assertEqual(mounted, {volume["name"] for volume in spec.get("volumes", [])}, f"{name}: {pod}")

    def test_a_directory_may_be_a_volume_of_your_own(self):
        """A ConfigMap holds no more than a mebibyte; and some fetch their policies."""
        change = {
            "policies": {"files": None},
            "config": {"policies": {"dir": "/ours/policies"}},
            "extraVolumes": [{"name": "ours", "persistentVolumeClaim": {"claimName": "ours"}}],
            "extraVolumeMounts": [{"name": "ours", "mountPath": "/ours", "readOnly": True}],
        }
        found = render("one-gateway", change)
        (conf,) = [of["data"]["permyx.toml"] for of in found if of["kind"] == "ConfigMap"]
        self.assertIn('[policies]\n  dir = "/ours/policies"\n', conf)
        (container,) = one("Deployment", found)["spec"]["template"]["spec"]["containers"]
        self.assertIn({"name": "ours", "mountPath": "/ours", "readOnly": True}, container["volumeMounts"])

    def test_a_changed_configuration_rolls_the_pods_and_a_changed_policy_does_not(self):
        for name, at in (("one-gateway", lambda values: values), (SIDECAR, lambda values: {"permyx": values})):
            def sum_of(change):
                template = one("Deployment", render(name, at(change)))["spec"]["template"]
                return template["metadata"]["annotations"]["checksum/config"]

            was = sum_of({})
            self.assertEqual(sum_of({"policies": {"files": {"store-123.toml": "changed"}}}), was)
            self.assertNotEqual(sum_of({"config": {"log": {"filter": "debug"}}}), was)
            with_presets = [sum_of({"presets": {"files": {"a.toml": text}}}) for text in ("a", "b")]
            self.assertEqual(len({was, *with_presets}), 3)

    def test_the_spool_fits_its_volume(self):
        """A pod whose emptyDir exceeds its limit is evicted."""
        limit = lambda found: [v for v in one("Deployment", found)["spec"]["template"]["spec"]["volumes"] if v["name"] == "permyx-data"]
        for spool in (None, 1 << 30, 1 << 40):
            change = {"config": {"evidence": {"spool_limit": spool}}} if spool else {}
            expected = str((spool or 4 << 30) * 5 // 4)
            self.assertEqual(limit(render("one-gateway", change)), [{"name": "permyx-data", "emptyDir": {"sizeLimit": expected}}])
        own = render("one-gateway", {"data": {"sizeLimit": "9Gi"}})
        self.assertEqual(limit(own), [{"name": "permyx-data", "emptyDir": {"sizeLimit": "9Gi"}}])
        claim = render("one-gateway-claim", {"data": {"persistence": {"existingClaim": "kept"}}})
        self.assertEqual(limit(claim), [{"name": "permyx-data", "persistentVolumeClaim": {"claimName": "kept"}}])
        self.assertFalse([of for of in claim if of["kind"] == "PersistentVolumeClaim"])


class Life(unittest.TestCase):
    def test_probes_ask_the_ops_listener(self):
        for name in SETS:
            gateway = charts.gateway(name)
            for probe, path in (("startupProbe", "/startupz"), ("readinessProbe", "/readyz"), ("livenessProbe", "/livez")):
                self.assertEqual(gateway[probe]["httpGet"], {"path": path, "port": "pmx-metrics"}, name)
            # A start may wait for keys; only then does liveness count.
            self.assertGreaterEqual(gateway["startupProbe"]["failureThreshold"] * gateway["startupProbe"]["periodSeconds"], 60)

    def test_a_pod_is_killed_only_after_it_could_drain(self):
        grace = lambda found: one("Deployment", found)["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
        self.assertEqual(grace(render("one-gateway")), 35)
        self.assertEqual(grace(render("one-gateway", {"config": {"shutdown": {"timeout_s": None}}})), 35)
        self.assertEqual(grace(render("one-gateway", {"config": {"shutdown": {"timeout_s": 60}}})), 70)
        for at, _, container in everything():
            self.assertNotIn("lifecycle", container, at)

    def test_a_rollout_has_no_gap_where_two_gateways_may_run(self):
        strategies = {name: one("Deployment", render(name))["spec"]["strategy"] for name in SETS if SETS[name][0] == CHART}
        rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
        for name, strategy in strategies.items():
            alone = name in ("one-gateway", "one-gateway-claim", "several-gateways-claim", "podmonitor", "protected", "extras")
            self.assertEqual(strategy, {"type": "Recreate"} if alone else rolling, name)

    def test_what_scales_and_what_interrupts_knows_the_gateway(self):
        (workload,) = charts.of_kind("Deployment", "autoscaled")
        self.assertNotIn("replicas", workload["spec"], "the autoscaler's number would be undone by each upgrade")
        (scaler,) = charts.of_kind("HorizontalPodAutoscaler", "autoscaled")
        target = {"apiVersion": workload["apiVersion"], "kind": workload["kind"], "name": workload["metadata"]["name"]}
        self.assertEqual(scaler["spec"]["scaleTargetRef"], target)
        (budget,) = charts.of_kind("PodDisruptionBudget", "autoscaled")
        self.assertEqual(budget["spec"], {"maxUnavailable": 1, "selector": workload["spec"]["selector"]})
        (spread,) = workload["spec"]["template"]["spec"]["topologySpreadConstraints"]
        self.assertEqual(spread["labelSelector"], workload["spec"]["selector"])

    def test_the_sidecar_is_native_and_first(self):
        """Among the containers it would keep a Job alive; behind other init containers those would run unguarded."""
        ((_, spec),) = charts.pod_specs(SIDECAR)
        self.assertEqual([of["name"] for of in spec["initContainers"]], ["permyx", "migrate"])
        self.assertEqual(spec["initContainers"][0]["restartPolicy"], "Always")
        self.assertNotIn("permyx", [of["name"] for of in spec["containers"]])
        for name in set(SETS) - {SIDECAR}:
            self.assertNotIn("restartPolicy", charts.gateway(name), name)

    def test_the_sidecar_waits_for_nobody_unless_told_to(self):
        def toml(*changes):
            return next(of for of in render(SIDECAR, *changes) if of["metadata"]["name"] == "demo-permyx-conf")["data"]["permyx.toml"]

        self.assertIn("[shutdown]\n  delay_s = 0\n", toml())
        for told, said in ((3, 3), (0, 0), (None, 0)):
            self.assertIn(f"[shutdown]\n  delay_s = {said}\n", toml({"permyx": {"config": {"shutdown": {"delay_s": told}}}}))


class Notes(unittest.TestCase):
    """What is promised is said, and what is not."""

    def notes(self, name, *changes):
        templates = charts.render(CHART, merged(charts.values_of(name), *changes))
        return " ".join(templates["permyx/templates/NOTES.txt"].split())

    def test_they_follow_the_ledger(self):
        self.assertIn("The one gateway burns in memory", self.notes("one-gateway"))
        self.assertIn("over all gateways and a failover", self.notes("several-gateways"))
        aof = {"config": {"ledger": {"durability": "aof", "redis": {"replicas": None}}}}
        self.assertIn("over all gateways and restarts", self.notes("several-gateways", aof))
        loose = self.notes("several-gateways", {"config": {"ledger": {"durability": "async"}}})
        self.assertIn("What is not - At most once: with `durability: async` a failover may forget", loose)
        self.assertNotIn("A token buys at most once", loose)

    def test_they_tell_where_events_are_lost(self):
        self.assertIn("Events wait in an emptyDir, which dies with its pod", self.notes("one-gateway"))
        self.assertIn("Events wait on a claim", self.notes("one-gateway-claim"))
        self.assertNotIn("Nobody takes the events yet", self.notes("one-gateway"))
        no_ship = {"config": {"evidence": {"ship": None}}, "existingSecrets": {"shipKey": {"name": ""}}}
        self.assertIn("Nobody takes the events yet", self.notes("one-gateway", no_ship))

    def test_they_tell_of_the_way_round(self):
        self.assertIn("Whoever reaches the merchant's pods goes round the gateway", self.notes("one-gateway"))
        self.assertIn("where the cluster's network enforces NetworkPolicies", self.notes("protected"))
        self.assertIn("No store has a policy", self.notes("one-gateway", {"policies": {"files": None}}))


if __name__ == "__main__":
    unittest.main()
