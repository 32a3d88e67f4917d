"""What stands for the Secrets and ConfigMaps that a cluster has already."""

import functools
import json
import subprocess
import tempfile
from pathlib import Path

JWKS = json.loads((Path(__file__).parents[1] / "vectors/tokens.json").read_text())["jwks"]

CONFIGMAPS = {
    "our-policies": {"store-123.toml": 'store = "store-123"\nmode = "observe"\ncurrency = "USD"\n'},
    "lists": {"crawlers.json": json.dumps([{"pattern": "Examplebot", "url": "https://bot.example"}])},
}


def secret(name):
    certificate, key = pair()
    return {
        "permyx-ship": {"key": "permyx_gateway_not_a_real_one"},
        "permyx-redis": {"password": "secret", "sentinel": "secret", "ca.crt": certificate},
        "permyx-jwks": {"jwks.json": json.dumps(JWKS)},
        "shop-tls": {"tls.crt": certificate, "tls.key": key},
    }[name]


@functools.cache
def pair():
    """A certificate and its key, made now."""
    with tempfile.TemporaryDirectory() as place:
        made = [Path(place) / name for name in ("certificate", "key")]
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]
        command += ["-subj", "/CN=shop.example", "-addext", "subjectAltName=DNS:shop.example"]
        subprocess.run([*command, "-out", made[0], "-keyout", made[1]], check=True, capture_output=True)
        return tuple(path.read_text() for path in made)
