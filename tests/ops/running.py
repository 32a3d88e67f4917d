"""Running instances for the tests of rules and dashboards, and something for them to count.

Nothing outlives a `Setting`: it ends what it started, each by its own process; and should this process be killed, so
are they.
"""

import atexit
import contextlib
import ctypes
import functools
import http.client
import http.server
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PERMYX = Path(os.environ.get("PERMYX", ROOT / "target/debug/permyx")).resolve()
AGENT = "permyx_agent_YOUR_KEY"
STORE, VARIANT = "store-123", "shopify:variant:123456"
LOOPBACK = "127.0.0.1:0"
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
CRAWLER = "Mozilla/5.0 (compatible; GPTBot/1.2; +https://openai.com/gptbot)"
CONFIG = """
data = "data"
[gateway]
name = "one"
listen = "127.0.0.1:{gateway}"
fallback = "{merchant}"
{routes}
[ops]
listen = "127.0.0.1:{ops}"
[ledger.redis]
nodes = ["127.0.0.1:{redis}"]
[policies]
dir = "policies"
[keys]
jwks_url = "{api}/.well-known/jwks.json"
[evidence.ship]
url = "{api}"
key_file = "ship.key"
"""
ROUTE = f"""
[[gateway.routes]]
name = "{{name}}"
path = "/{{name}}"
preset = "oneshot-json"
store = "{STORE}"
upstream = "{{upstream}}"
"""
PROMETHEUS = """
global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}
rule_files: ['{rules}']
scrape_configs:
{jobs}
"""
# Each a deployment of its own: that their policies differ is no drift.
JOB = "- {{job_name: {job}, static_configs: [{{targets: ['{target}'], labels: {{namespace: '{job}'}}}}]}}"


def die_with_parent():
    """Runs in a child before its program: the kernel kills it when we die."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def free_port():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


def ask(url, body=None, headers=(), method=None, timeout=10):
    """Status and text of an answer; 0 where there is none."""
    request = urllib.request.Request(url, body and body.encode(), dict(headers), method=method)
    if body is not None:
        request.add_header("Content-Type", "application/json")
    try:
        with DIRECT.open(request, timeout=timeout) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return 0, ""


def until(what, looks, seconds=20):
    """Waits until `looks` gives something true, and gives that."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        found = looks()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"within {seconds} s not: {what}")


def names(exposition):
    """The names of the samples and families that a /metrics page tells of."""
    lines = exposition.splitlines()
    samples = {re.split(r"[{ ]", line, maxsplit=1)[0] for line in lines if line and line[0] != "#"}
    return samples | {line.split()[2] for line in lines if line.startswith("# TYPE ")}


class Merchant:
    """A checkout that sells everything, unless it is told to hang or to hang up."""

    def __init__(self):
        merchant = self
        self.mood = "sells"
        self.asked = self.sold = 0

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                merchant.asked += 1
                if merchant.mood == "hangs":
                    time.sleep(3)
                if merchant.mood != "sells":
                    self.close_connection = True
                    return
                merchant.sold += 1
                total = sum(line["price"] * line["quantity"] for line in json.loads(body)["items"])
                order = {"order": {"id": f"order-{merchant.sold}", "total": round(total, 2), "currency": "USD"}}
                self.answer(json.dumps(order))

            def do_GET(self):
                self.answer("{}")

            def answer(self, text):
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Setting:
    """`permyx dev`, a gateway with its ledger in Redis that ships its events there, and Prometheus over both."""

    def __init__(self):
        self.dir = Path(tempfile.mkdtemp(prefix="permyx-ops-"))
        self.ends = contextlib.ExitStack()
        self.ends.callback(shutil.rmtree, self.dir, ignore_errors=True)
        self.processes = {}
        self.dev = self.gateway = None

    def start(self):
        if not PERMYX.exists():
            raise FileNotFoundError(f"{PERMYX}: build it, or name one in PERMYX")
        try:
            self._start_dev()
            self.merchant = Merchant()
            self.ends.callback(self.merchant.close)
            self.redis_port, self.gateway_port, self.gateway_ops = free_port(), free_port(), free_port()
            self.start_redis()
            self._write_gateway()
            self.start_gateway()
            self._start_prometheus()
        except BaseException:
            self.close()
            raise
        return self

    def close(self):
        """Ends everything; a second time there is nothing left."""
        for name in reversed(list(self.processes)):
            self.end(name)
        self.ends.close()

    def spawn(self, name, *line, **options):
        log = (self.dir / f"{name}.log").open("ab")
        self.ends.callback(log.close)
        process = subprocess.Popen(
            [str(word) for word in line], stdin=subprocess.DEVNULL, stderr=log, start_new_session=True,
            preexec_fn=die_with_parent, **{"stdout": log, **options})
        self.processes[name] = process
        return process

    def end(self, name, *, kill=False):
        process = self.processes.pop(name, None)
        if process is None:
            return
        if process.poll() is None:
            # SIGINT, for whom we wait: it ends in order and without delay.
            process.send_signal(signal.SIGKILL if kill else signal.SIGINT)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()

    def permyx(self, *line):
        done = subprocess.run([PERMYX, *line], capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, f"{line}: {done.stderr}"
        return done.stdout

    def api_key(self, role, *terms):
        made = json.loads(self.permyx("agent-key", "create", "--data", self.data, "--role", role, *terms, "--json"))
        return next(word for word in made.values() if str(word).startswith(f"permyx_{role}_"))

    def _ready(self, name, *line):
        process = self.spawn(name, PERMYX, *line, "--ready-json", stdout=subprocess.PIPE)
        first = process.stdout.readline()
        assert first, f"{name} did not start: {(self.dir / f'{name}.log').read_text()}"
        threading.Thread(target=lambda: [None for _ in process.stdout], daemon=True).start()
        return json.loads(first)

    def _start_dev(self):
        self.data = self.dir / "dev"
        self.dev = self._ready(
            "dev", "dev", "--data", self.data, "--gateway-listen", LOOPBACK, "--api-listen", LOOPBACK,
            "--merchant-listen", LOOPBACK, "--ops-listen", LOOPBACK)

    def start_redis(self):
        place = self.dir / "redis"
        place.mkdir(exist_ok=True)
        self.spawn(
            "redis", "redis-server", "--port", self.redis_port, "--bind", "127.0.0.1", "--dir", place,
            "--appendonly", "yes", "--maxmemory-policy", "noeviction")

        def answers():
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.redis_port), 1):
                return True

        until("Redis answers", answers)

    def _write_gateway(self):
        place = self.dir / "gateway"
        policies = place / "policies"
        policies.mkdir(parents=True)
        # Two ways to meet an outage: `checkout` refuses, `open` lets pass.
        text = (ROOT / "policies/store-123.toml").read_text()
        (policies / "store-123.toml").write_text(text + '\n[routes.open]\non_unavailable = "allow_and_record"\n')
        (place / "ship.key").write_text(self.api_key("gateway", "--all-stores"))
        nobody = f"http://127.0.0.1:{free_port()}"
        upstreams = {"checkout": self.merchant.url, "open": self.merchant.url, "nowhere": nobody}
        routes = "\n".join(ROUTE.format(name=name, upstream=url) for name, url in upstreams.items())
        (place / "permyx.toml").write_text(CONFIG.format(
            gateway=self.gateway_port, ops=self.gateway_ops, redis=self.redis_port, merchant=self.merchant.url,
            api=self.dev["api"], routes=routes))

    def start_gateway(self):
        self.gateway = self._ready("gateway", "gateway", "--config", self.dir / "gateway/permyx.toml")
        until("the gateway is ready", lambda: ask(self.gateway["ops"] + "/readyz")[0] == 200)

    def metrics(self, which):
        return ask({"dev": self.dev, "gateway": self.gateway}[which]["ops"] + "/metrics")[1]

    def token(self, key=AGENT, **changes):
        body = {"storeId": STORE, "permyxProductId": "permyx:product:demo", "sourceVariantId": VARIANT, "quantity": 1,
                "price": {"amount": 29.99, "currency": "USD"}, "scope": "agent_exec", **changes}
        status, text = ask(self.dev["api"] + "/agents/v1/exec/authorize", json.dumps(body), {"X-API-Key": key})
        return json.loads(text).get("executionToken", "") if status == 200 else ""

    def buy(self, where, token=None, quantity=1, path="/checkout", **headers):
        cart = {"currency": "USD", "items": [{"variant": VARIANT, "quantity": quantity, "price": 29.99}]}
        if token:
            headers["Permyx-Execution-Token"] = token
        return ask(where["gateway"] + path, json.dumps(cart), headers)[0]

    def _start_prometheus(self):
        targets = {"permyx": self.dev, "permyx-gateway": self.gateway}
        jobs = [JOB.format(job=job, target=where["ops"].removeprefix("http://")) for job, where in targets.items()]
        config = self.dir / "prometheus.yml"
        config.write_text(PROMETHEUS.format(rules=ROOT / "conf/alerts/permyx.yaml", jobs="\n".join(jobs)))
        port = free_port()
        self.prometheus = f"http://127.0.0.1:{port}"
        self.spawn(
            "prometheus", "prometheus", f"--config.file={config}", f"--storage.tsdb.path={self.dir / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}")
        until("Prometheus is ready", lambda: ask(self.prometheus + "/-/ready")[0] == 200)

    def query(self, expression):
        """The series that a query gives; an error is an AssertionError with Prometheus's words."""
        text = ask(self.prometheus + "/api/v1/query?" + urllib.parse.urlencode({"query": expression}))[1]
        told = json.loads(text or "{}")
        assert told.get("status") == "success", f"{expression}: {text}"
        return told["data"]["result"] if told["data"]["resultType"] == "vector" else [{"value": told["data"]["result"]}]

    def alerts(self):
        """Name and state of what is pending or firing."""
        told = json.loads(ask(self.prometheus + "/api/v1/alerts")[1])["data"]["alerts"]
        return {(alert["labels"]["alertname"], alert["state"]) for alert in told}

    def rule_groups(self):
        return json.loads(ask(self.prometheus + "/api/v1/rules")[1])["data"]["groups"]


class Traffic:
    """Something of everything that is counted, again and again, on a thread of its own until it is closed."""

    def __init__(self, setting):
        self.setting, self.stop, self.failure = setting, threading.Event(), None
        self.slow_key = setting.api_key("agent", "--store", STORE, "--per-minute", "1")
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def close(self):
        self.stop.set()
        self.thread.join(30)

    def _run(self):
        turn = 0
        try:
            while not self.stop.wait(0.2):
                for where in (self.setting.dev, self.setting.gateway):
                    self._round(where)
                if turn % 8 == 0:
                    self._operate(turn)
                turn += 1
        except Exception as failure:  # told by whoever looks at it
            self.failure = failure

    def _round(self, where):
        setting = self.setting
        token = setting.token()
        if setting.buy(where, token, quantity=2) == 403:
            setting.buy(where, token)
            setting.buy(where, token)
        setting.buy(where, token="a.b.c")
        setting.buy(where)
        setting.buy(where, **{"User-Agent": CRAWLER})
        ask(where["gateway"] + "/items")
        if where is setting.gateway:
            setting.buy(where, setting.token(), path="/nowhere")

    def _operate(self, turn):
        """What operators do: revoke, change a policy; and an agent that asks too often."""
        setting = self.setting
        setting.permyx("revoke", "token", str(uuid.uuid4()), "--data", setting.data)
        setting.permyx("revoke", "token", str(uuid.uuid4()), "--config", setting.dir / "gateway/permyx.toml")
        for policy in (setting.data / "policies/store-123.toml", setting.dir / "gateway/policies/store-123.toml"):
            text = policy.read_text()
            fresh = policy.with_suffix(".new")
            fresh.write_text(re.sub(r"max_quantity = \d+", f"max_quantity = {10 + turn % 3}", text))
            fresh.replace(policy)
        for _ in range(2):
            setting.token(self.slow_key)


def misfortunes(setting):
    """Each fault that a metric tells of, once. Its counts stay: what ends the process comes first."""
    gateway, merchant = setting.gateway, setting.merchant
    # Killed in the middle of an execution: a gap, and a reservation that the next run settles.
    merchant.mood = "hangs"
    dying = threading.Thread(target=setting.buy, args=(gateway, setting.token()), daemon=True)
    dying.start()
    until("the purchase is under way", lambda: merchant.asked)
    setting.end("gateway", kill=True)
    setting.start_gateway()
    dying.join(10)
    for mood, path in (("hangs up", "/checkout"), ("sells", "/nowhere")):
        merchant.mood = mood
        setting.buy(gateway, setting.token(), path=path)
    # Without the ledger: errors, refusals of ours, requests that pass unjudged, and an epoch when it is back.
    setting.end("redis", kill=True)
    for path in ("/open", "/checkout") * 4:
        setting.buy(gateway, setting.token(), path=path)
        time.sleep(0.6)
    setting.start_redis()

    def back():
        told = setting.metrics("gateway")
        return 'cause="server_changed"' in told and "permyx_ledger_quarantine_seconds 0" in told

    until("the ledger is back", back, 30)


class Stage:
    """What both test modules look at: a quiet moment, then everything that goes wrong. `Traffic` is each one's own."""

    def __init__(self):
        self.setting = Setting().start()
        atexit.register(self.setting.close)
        try:
            self._play(self.setting)
        except BaseException:
            self.setting.close()
            raise

    def _play(self, setting):
        until("both are scraped", lambda: len(setting.query("permyx_build_info")) == 2)
        # Some rounds of the rules.
        time.sleep(3)
        self.quiet_alerts = setting.alerts()
        checkpoints = setting.query("permyx_evidence_checkpoint_age_seconds")
        self.quiet_checkpoint_s = [float(series["value"][1]) for series in checkpoints]
        misfortunes(setting)


@functools.cache
def stage():
    """One for the whole run: it takes twenty seconds to set up."""
    return Stage()
