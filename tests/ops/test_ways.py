"""Who reaches what: services, policies of the network, and the pods of `helm test` that prove them."""

import unittest

import charts
from charts import SETS
from reach import reaches

SIDECAR = "sidecar"


class Ways(unittest.TestCase):
    """Who reaches what."""

    def selects(self, selector, labels):
        return selector.items() <= labels.items()

    def test_services_lead_to_the_gateway_and_never_to_test_pods(self):
        for name in SETS:
            (workload,) = charts.of_kind("Deployment", name)
            pods = {pod["metadata"]["name"]: pod["metadata"]["labels"] for pod in charts.of_kind("Pod", name)}
            for service in charts.of_kind("Service", name):
                selector = service["spec"]["selector"]
                self.assertTrue(self.selects(selector, workload["spec"]["template"]["metadata"]["labels"]), name)
                self.assertFalse([pod for pod, labels in pods.items() if self.selects(selector, labels)], name)
                port = "pmx-metrics" if service["metadata"]["name"].endswith("-metrics") else "pmx-http"
                self.assertEqual(service["spec"]["ports"][0]["targetPort"], port)

    def test_metrics_do_not_come_out_where_the_gateway_does(self):
        for name in SETS:
            for service in charts.of_kind("Service", name):
                self.assertEqual(len(service["spec"]["ports"]), 1, name)

    def test_only_the_gateway_reaches_a_protected_merchant(self):
        for name, place in (("protected", "shop"), ("protected-elsewhere", "shop-backend")):
            (workload,) = charts.of_kind("Deployment", name)
            gateway = workload["spec"]["template"]["metadata"]["labels"]
            tests = [pod["metadata"]["labels"] for pod in charts.of_kind("Pod", name)]
            self.assertEqual(len(tests), 2)
            merchant = (place, {"app": "shop-backend"})
            by = lambda caller, port=8080: reaches(charts.of_kind("NetworkPolicy", name), caller, merchant, (port,))
            self.assertTrue(by(("shop", gateway)))
            for labels in (*tests, {}, {"app": "shop-backend"}):
                self.assertFalse(by(("shop", labels)), labels)
                self.assertFalse(by((place, labels)), labels)
            # The gateway's labels count in its own namespace alone, and for the merchant's port alone.
            self.assertFalse(by(("elsewhere", gateway)))
            self.assertFalse(by(("shop", gateway), 22))
            # What was let in on purpose reaches its port and no other.
            self.assertEqual(by(("monitoring", {}), 9102), name == "protected-elsewhere")
            self.assertFalse(by(("monitoring", {})))

    def test_the_gateway_answers_on_two_ports_and_to_whom_it_should(self):
        for name in set(SETS) - {SIDECAR, "extras"}:
            (workload,) = charts.of_kind("Deployment", name)
            gateway = ("shop", workload["spec"]["template"]["metadata"]["labels"])
            by = lambda place, port: reaches(charts.of_kind("NetworkPolicy", name), (place, {}), gateway, port)
            chosen = name == "protected-elsewhere"
            self.assertTrue(by("ingress", (8480, "pmx-http")), name)
            self.assertEqual(by("anywhere", (8480, "pmx-http")), not chosen)
            self.assertTrue(by("monitoring", (9464, "pmx-metrics")), name)
            self.assertEqual(by("anywhere", (9464, "pmx-metrics")), not chosen)
            for place in ("ingress", "monitoring", "shop"):
                self.assertFalse(by(place, (9901,)), name)

    def test_the_bypass_is_tried_for_every_merchant(self):
        tried = lambda name: [of["args"] for pod in charts.of_kind("Pod", name) for of in pod["spec"]["containers"] if "bypass" in of["args"]]
        ask = ["check", "bypass", "--to"]
        self.assertEqual(tried("protected"), [[*ask, "http://shop-backend:8080/checkout"]])
        self.assertEqual(tried("protected-elsewhere"), [[*ask, "http://backend.shop:8080/checkout"], [*ask, "http://other.shop:9000/buy"]])
        for name in set(SETS) - {"protected", "protected-elsewhere"}:
            self.assertEqual(tried(name), [], name)

    def test_helm_test_checks_what_the_gateway_reads(self):
        for name in set(SETS) - {SIDECAR, "extras"}:
            (pod,) = [of for of in charts.of_kind("Pod", name) if of["metadata"]["name"] == "demo-permyx-check"]
            self.assertEqual(pod["metadata"]["annotations"]["helm.sh/hook"], "test")
            self.assertEqual(pod["spec"]["restartPolicy"], "Never")
            (container,) = pod["spec"]["containers"]
            # It is not the gateway, so where the merchant is protected it cannot connect to it.
            connect = [] if name.startswith("protected") else ["--connect"]
            self.assertEqual(container["args"], ["check", "--config", "/etc/permyx/conf/permyx.toml", *connect, "--wait", "60"])
            gateway = charts.gateway(name)
            self.assertEqual(container["volumeMounts"], [of for of in gateway["volumeMounts"] if of["name"] != "permyx-data"])
            self.assertEqual(container["image"], gateway["image"])

    def test_outside_the_pod_only_the_ports_of_the_sidecar_answer(self):
        (workload,) = charts.of_kind("Deployment", SIDECAR)
        shop = ("shop", workload["spec"]["template"]["metadata"]["labels"])
        by = lambda port: reaches(charts.of_kind("NetworkPolicy", SIDECAR), ("anywhere", {}), shop, (port,))
        self.assertEqual([port for port in (8080, 8480, 9464, 9901) if by(port)], [8480, 9464])
        (container,) = workload["spec"]["template"]["spec"]["containers"]
        self.assertIn("127.0.0.1:8080", container["args"])
        (service,) = charts.of_kind("Service", SIDECAR)
        self.assertEqual(service["spec"]["ports"][0]["targetPort"], "pmx-http")


if __name__ == "__main__":
    unittest.main()
