"""A real Vendure merchant for the tests: @vendure/core from npm, on SQLite, on a free port of this machine.

usage: vendure_shop.py DIR      DIR keeps the installed packages and a filled database from one run to the next

It prints one JSON line {"ready": true, "url": ...} when it serves, and ends with its standard input.
Every start has a fresh copy of the database: no orders, the products of vendure_shop.cjs.
"""
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile

import npm_home

PACKAGES = {"@vendure/core": "3.7.3", "better-sqlite3": "11.10.0"}
SERVER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "vendure_shop.cjs")


def filled(home):
    """The path of a database with products and no orders, made once for each text of the server."""
    with open(SERVER, "rb") as file:
        database = os.path.join(home, "filled-" + hashlib.sha256(file.read()).hexdigest()[:16] + ".sqlite")
    if not os.path.exists(database):
        part = database + ".part"
        if os.path.exists(part):
            os.remove(part)
        subprocess.run(["node", SERVER, "--fill", home, part], check=True, stdout=sys.stderr)
        os.rename(part, database)
    return database


if __name__ == "__main__":
    home = os.path.abspath(sys.argv[1])
    with npm_home.alone(home):
        npm_home.install(home, PACKAGES)
        source = filled(home)
    database = os.path.join(tempfile.mkdtemp(prefix="vendure-"), "shop.sqlite")
    shutil.copy(source, database)
    os.execvp("node", ["node", SERVER, "--serve", home, database])
