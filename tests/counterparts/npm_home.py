"""Keeps packages of the npm registry in a directory, for the merchants that are written for Node."""
import contextlib
import fcntl
import json
import os
import subprocess
import sys


@contextlib.contextmanager
def alone(home):
    """One process at a time works in `home`, however many tests ask at the same time."""
    os.makedirs(home, exist_ok=True)
    with open(os.path.join(home, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def install(home, packages):
    """Installs exactly `packages` ({name: version}) into `home` once; a changed list installs again."""
    wanted = json.dumps({"name": "shop", "private": True, "dependencies": packages}, indent=1)
    manifest, done = os.path.join(home, "package.json"), os.path.join(home, "installed")
    if os.path.exists(done) and open(done).read() == wanted:
        return
    with open(manifest, "w") as file:
        file.write(wanted)
    # Their build steps must run: some packages compile a part of theirs.
    npm = ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error", "--no-package-lock"]
    subprocess.run(npm, cwd=home, check=True, stdout=sys.stderr)
    with open(done, "w") as file:
        file.write(wanted)
