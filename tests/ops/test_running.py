"""Runs the program as the container of the chart does: its arguments, its files as a node mounts them, its probes."""

import contextlib
import json
import os
import socket
import subprocess
import tempfile
import time
import unittest
import urllib.error
import urllib.request
from pathlib import Path

import charts
from charts import CHART, merged

# Nothing listens there; its name has to be known at the start.
NOBODY = "http://127.0.0.1:9"
CHANGE = {
    "config": {
        "keys": {"jwks_url": None},
        "gateway": {
            "fallback": None,
            "routes": [{"name": "checkout", "path": "/checkout", "preset": "oneshot-json", "store": "store-123", "upstream": NOBODY}],
        },
        "shutdown": {"delay_s": 3, "timeout_s": 8},
    },
    "existingSecrets": {"jwks": {"name": "permyx-jwks"}},
}


@contextlib.contextmanager
def started(arguments, place):
    """The program with those arguments, listening where it finds room, and its address for metrics and health."""
    arguments = [argument.replace("/etc/permyx", str(place)) for argument in arguments]
    own = {"PERMYX_GATEWAY_LISTEN": "127.0.0.1:0", "PERMYX_OPS_LISTEN": "127.0.0.1:0"}
    with tempfile.TemporaryDirectory() as data, open(Path(data, "log"), "w+") as log:
        env = os.environ | own | {"PERMYX_DATA": f"{data}/data"}
        process = subprocess.Popen([charts.PERMYX, *arguments, "--ready-json"], stdout=subprocess.PIPE, stderr=log, env=env, text=True)
        try:
            ready = process.stdout.readline()
            log.seek(0)
            assert ready, log.read()
            yield process, json.loads(ready)["ops"]
        finally:
            process.kill()
            process.communicate()


def asked(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()


class Running(unittest.TestCase):
    def eventually(self, seconds, holds, why):
        end = time.monotonic() + seconds
        while not holds():
            self.assertLess(time.monotonic(), end, why())
            time.sleep(0.1)

    def test_the_container_starts_follows_its_policies_and_drains_in_time(self):
        found = charts.objects_of(charts.render(CHART, merged(charts.values_of("one-gateway"), CHANGE)))
        (spec,) = [of["spec"]["template"]["spec"] for of in found if of["kind"] == "Deployment"]
        (container,) = spec["containers"]
        maps = {of["metadata"]["name"]: of["data"] for of in found if of["kind"] == "ConfigMap"}
        policy = maps["demo-permyx-policies"]["store-123.toml"]
        with charts.mounted(container, spec["volumes"], maps) as place, started(container["args"], place) as (process, ops):
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                url = ops + container[probe]["httpGet"]["path"]
                # Ready when nothing is refused any more that was issued before the start.
                self.eventually(20, lambda: asked(url)[0] == 200, lambda: asked(f"{url}?verbose"))

            metrics = lambda: asked(f"{ops}/metrics")[1]
            self.assertIn('mode="observe",store="store-123"', metrics())
            charts.publish(place / "policies", {"store-123.toml": policy.replace("observe", "enforce")})
            self.eventually(10, lambda: 'mode="enforce",store="store-123"' in metrics(), metrics)
            charts.publish(place / "policies", {"store-123.toml": "mode = "})
            self.eventually(10, lambda: 'permyx_config_last_reload_successful{kind="policy"} 0' in metrics(), metrics)
            self.assertIn('mode="enforce",store="store-123"', metrics())
            self.assertEqual(asked(f"{ops}/readyz")[0], 200)

            process.terminate()
            self.eventually(3, lambda: asked(f"{ops}/readyz")[0] == 503, lambda: "it is ready although it was told to stop")
            self.assertEqual(process.wait(spec["terminationGracePeriodSeconds"]), 0)

    def test_the_pod_that_checks_sees_whether_all_that_is_needed_answers(self):
        with socket.create_server(("127.0.0.1", 0)) as there:
            url = f"http://127.0.0.1:{there.getsockname()[1]}"
            code, said = self.checked(url)
            self.assertEqual(code, 0, said)
        code, said = self.checked(url, wait="1")
        self.assertEqual(code, 1, said)
        for what in ("route checkout", "evidence.ship"):
            self.assertIn(what, said)

    def checked(self, url, wait="60"):
        """What the pod says, if merchant and control plane are at this address."""
        values = merged(charts.values_of("one-gateway"), CHANGE, {"config": {"evidence": {"ship": {"url": url}}}})
        values["config"]["gateway"]["routes"] = [of | {"upstream": url} for of in CHANGE["config"]["gateway"]["routes"]]
        found = charts.objects_of(charts.render(CHART, values))
        (spec,) = [of["spec"] for of in found if of["kind"] == "Pod"]
        maps = {of["metadata"]["name"]: of["data"] for of in found if of["kind"] == "ConfigMap"}
        # In the pod nobody has the port of metrics; who has it here is not ours.
        conf = maps["demo-permyx-conf"]
        conf["permyx.toml"] = conf["permyx.toml"].replace(":9464", ":0")
        (container,) = spec["containers"]
        with charts.mounted(container, spec["volumes"], maps) as place:
            arguments = [of.replace("/etc/permyx", str(place)) for of in container["args"]]
            self.assertEqual(arguments[-2:], ["--wait", "60"])
            return charts.permyx(*arguments[:-1], wait)

    def test_the_pod_that_tries_the_bypass_tells_three_things_apart(self):
        with socket.create_server(("127.0.0.1", 0)) as merchant:
            there = f"http://127.0.0.1:{merchant.getsockname()[1]}/checkout"
            code, said = charts.permyx("check", "bypass", "--to", there)
            self.assertEqual(code, 1, said)
        code, said = charts.permyx("check", "bypass", "--to", there)
        self.assertEqual(code, 0, said)
        # Nobody has a name under `invalid`.
        code, said = charts.permyx("check", "bypass", "--to", "http://shop.invalid/checkout")
        self.assertEqual(code, 3, said)


if __name__ == "__main__":
    unittest.main()
