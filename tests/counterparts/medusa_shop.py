"""A real Medusa merchant for the tests, on PostgreSQL, on free ports of this machine. It also speaks ACP and UCP (a plugin).

usage: medusa_shop.py DIR      DIR keeps the installed packages and a filled database from one run to the next

It prints one JSON line {"ready": true, "url": ..., "publishable_key": ..., "variants": {sku: id}, ...} when it serves,
and ends with its standard input. Every start has a fresh copy of the database. Needs Debian's postgresql.
"""
import contextlib
import glob
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

import npm_home

MEDUSA = "2.21.2"
PACKAGES = {"@medusajs/medusa": MEDUSA, "@medusajs/framework": MEDUSA, "@medusajs/cli": MEDUSA,
            "@financedistrict/medusa-plugin-agentic-commerce": "0.1.12"}
HERE = os.path.dirname(os.path.abspath(__file__))
SERVER = os.path.join(HERE, "medusa_shop.cjs")
FILES = [SERVER, os.path.join(HERE, "medusa_goods.cjs"), os.path.join(HERE, "medusa_card.cjs")]


def unprivileged():
    """PostgreSQL refuses to run as root, and must not outlive this program."""
    user = ["--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.getuid() == 0 else []
    return ["setpriv", "--pdeathsig=INT", *user]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def postgres(data):
    """Serves the database directory `data`; yields its URL."""
    tools, port = sorted(glob.glob("/usr/lib/postgresql/*/bin"))[-1], free_port()
    if os.getuid() == 0:
        subprocess.run(["chown", "-R", "postgres:postgres", data], check=True)
    new = not os.path.exists(os.path.join(data, "PG_VERSION"))
    if new:
        choices = ["-U", "shop", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"]
        subprocess.run([*unprivileged(), os.path.join(tools, "initdb"), "-D", data, *choices], check=True, stdout=sys.stderr)
    settings = ["listen_addresses=127.0.0.1", "fsync=off", "log_min_messages=fatal"]
    server = subprocess.Popen(
        [*unprivileged(), os.path.join(tools, "postgres"), "-D", data, "-p", str(port), "-k", data,
         *[word for setting in settings for word in ("-c", setting)]], stdin=subprocess.DEVNULL)
    here = ["-h", "127.0.0.1", "-p", str(port), "-U", "shop"]
    ready = [os.path.join(tools, "pg_isready"), "-q", "-d", "postgres", *here]
    try:
        for _ in range(300):
            if subprocess.run(ready).returncode == 0:
                break
            if server.poll() is not None:
                sys.exit("PostgreSQL ended at once")
            time.sleep(0.1)
        if new:
            subprocess.run([os.path.join(tools, "createdb"), *here, "shop"], check=True)
        yield f"postgres://shop@127.0.0.1:{port}/shop"
    finally:
        server.send_signal(2)
        server.wait()


@contextlib.contextmanager
def temporary_data():
    folder = tempfile.mkdtemp(prefix="medusa-")
    os.chmod(folder, 0o755)
    try:
        data = os.path.join(folder, "data")
        os.mkdir(data, 0o700)
        yield data
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def node(task, home, url):
    address = {**os.environ, "DATABASE_URL": url, "NODE_PATH": os.path.join(home, "node_modules"), "SHOP_SERVER": SERVER}
    return subprocess.run(["node", SERVER, task, home], cwd=home, env=address).returncode


def filled(home):
    """The path of a database directory with products and no orders, made once for each text of the server."""
    texts = b"".join(open(path, "rb").read() for path in FILES)
    kept = os.path.join(home, "filled-" + hashlib.sha256(texts).hexdigest()[:16])
    if not os.path.exists(kept):
        with temporary_data() as data:
            with postgres(data) as url:
                if node("--fill", home, url):
                    sys.exit("the shop could not be filled")
            shutil.rmtree(kept + ".part", ignore_errors=True)
            shutil.copytree(data, kept + ".part", ignore=shutil.ignore_patterns("*.pid", ".s.*"))
        os.rename(kept + ".part", kept)
    return kept


if __name__ == "__main__":
    home = os.path.abspath(sys.argv[1])
    with npm_home.alone(home):
        npm_home.install(home, PACKAGES)
        source = filled(home)
    with temporary_data() as data:
        shutil.copytree(source, data, dirs_exist_ok=True)
        os.chmod(data, 0o700)
        with postgres(data) as url:
            sys.exit(node("--serve", home, url))
