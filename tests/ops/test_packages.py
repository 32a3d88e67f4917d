"""Units and the Debian package: what they say, what is in it, and the program run as they run it."""

import configparser
import contextlib
import ctypes
import gzip
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import tomllib
import unittest
from pathlib import Path

from running import PERMYX, ROOT, ask, die_with_parent, free_port, until

UNITS = ROOT / "conf/systemd"
VERSION = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]
# systemd 252 says 1.2: what is left is the network that it serves, and the host's files to read.
EXPOSURE_MAX = 1.5
# Packed in seconds; nobody downloads it.
FAST = os.environ | {"DPKG_DEB_COMPRESSOR_TYPE": "none"}


def ran(*line, **options):
    return subprocess.run([str(word) for word in line], capture_output=True, text=True, timeout=300, **options)


def said(*line, **options):
    done = ran(*line, **options)
    assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
    return done.stdout


def unit(name):
    """Sections and keys of a unit; of a key that is there twice, the values with a space between."""
    class Joined(dict):
        def __setitem__(self, key, value):
            if isinstance(value, list) and key in self:
                value = self[key] + value
            super().__setitem__(key, value)

    read = configparser.ConfigParser(interpolation=None, strict=False, dict_type=Joined, delimiters=("=",))
    read.optionxform = str
    read.read_string((UNITS / name).read_text())
    return {section: {key: " ".join(value.split()) for key, value in read[section].items()} for section in read.sections()}


def services():
    return {path.stem: unit(path.name)["Service"] for path in sorted(UNITS.glob("*.service"))}


class Units(unittest.TestCase):
    def test_systemd_takes_them(self):
        if not shutil.which("systemd-analyze"):
            self.skipTest("systemd is not installed")
        with tempfile.TemporaryDirectory() as place:
            for path in UNITS.iterdir():
                Path(place, path.name).write_text(path.read_text().replace("/usr/bin/permyx", str(PERMYX)))
            files = sorted(Path(place).iterdir())
            verified = ran("systemd-analyze", "verify", *files)
            self.assertEqual((verified.returncode, verified.stdout + verified.stderr), (0, ""))
            for name in services():
                told = said("systemd-analyze", "security", "--offline=true", "--no-pager", Path(place, f"{name}.service"))
                self.assertLessEqual(float(re.search(r"exposure level .*: ([\d.]+)", told)[1]), EXPOSURE_MAX, told)

    def test_they_are_confined_alike(self):
        """Also where systemd cannot be asked."""
        gateway, serve = services()["permyx-gateway"], services()["permyx-serve"]
        differ = {key for key in gateway if gateway[key] != serve.get(key)} | set(serve) - set(gateway)
        self.assertEqual(differ, {"ExecStart", "StateDirectory", "WorkingDirectory"})
        for key in ("NoNewPrivileges", "ProtectHome", "PrivateTmp", "PrivateDevices", "MemoryDenyWriteExecute", "RestrictNamespaces"):
            self.assertEqual(gateway[key], "yes", key)
        self.assertEqual((gateway["ProtectSystem"], gateway["CapabilityBoundingSet"]), ("strict", ""))
        self.assertEqual(gateway["SystemCallFilter"], "@system-service ~@privileged @resources")
        self.assertEqual((gateway["Type"], gateway["NotifyAccess"], gateway["Restart"]), ("notify", "main", "on-failure"))

    def test_their_numbers_fit_the_defaults(self):
        defaults = tomllib.loads((ROOT / "conf/permyx.toml").read_text())
        for name, service in services().items():
            self.assertGreater(int(service["TimeoutStopSec"]), defaults["shutdown"]["timeout_s"] + 10, name)
            self.assertGreater(int(service["LimitNOFILE"]), 2 * defaults["gateway"]["connections_max"], name)

    def test_a_mistake_in_the_configuration_ends_it_and_a_taken_port_is_tried_again(self):
        with tempfile.TemporaryDirectory() as place, socket.create_server(("127.0.0.1", 0)) as taken:
            (Path(place) / "wrong.toml").write_text("wrong = 1\n")
            (Path(place) / "good.toml").write_text("[ledger]\nsingle_instance = true\n")
            port = f"127.0.0.1:{taken.getsockname()[1]}"
            gateway = lambda file: ran(PERMYX, "gateway", "--config", f"{place}/{file}", "--data", f"{place}/data", "--ops-listen", port)
            codes = [gateway(file) for file in ("wrong.toml", "good.toml")]
        for service in services().values():
            self.assertEqual(int(service["RestartPreventExitStatus"]), codes[0].returncode, codes[0].stderr)
            self.assertNotIn(codes[1].returncode, (0, codes[0].returncode), codes[1].stderr)

    def test_the_socket_is_the_gateways(self):
        told = unit("permyx-gateway.socket")["Socket"]
        sample = tomllib.loads((ROOT / "conf/package/etc/permyx.toml").read_text())
        self.assertEqual((told["ListenStream"], told["FileDescriptorName"]), (sample["gateway"]["listen"], "gateway"))


@unittest.skipUnless(shutil.which("dpkg-deb"), "no Debian")
class Package(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.file = ROOT / said(ROOT / ".ci/deb", PERMYX, env=FAST).strip()
        place = tempfile.TemporaryDirectory()
        cls.addClassCleanup(place.cleanup)
        cls.tree = Path(place.name)
        said("dpkg-deb", "--raw-extract", cls.file, cls.tree)

    def test_its_name_and_its_needs(self):
        fields = dict(re.findall(r"^ ?(\S+): (.*)$", said("dpkg-deb", "--info", self.file), re.M))
        self.assertEqual((fields["Package"], fields["Version"]), ("permyx", VERSION))
        self.assertEqual(self.file.name, f"permyx_{VERSION}_{fields['Architecture']}.deb")
        self.assertRegex(fields["Depends"], r"libc6 \(>= 2\.\d+\)")
        libraries = set(re.findall(r"^\s([^\s/]+?)\.so", said("ldd", PERMYX), re.M)) - {"linux-vdso"}
        self.assertEqual(libraries, {"libc", "libm", "libgcc_s"})

    def test_files_are_roots_and_no_more_may_be_done_than_must(self):
        for line in said("dpkg-deb", "--contents", self.file).splitlines():
            mode, owner, *_, path = line.split()
            self.assertEqual(owner, "root/root", path)
            program = path == "./usr/bin/permyx"
            self.assertEqual(mode, "drwxr-xr-x" if path.endswith("/") else "-rwxr-xr-x" if program else "-rw-r--r--", path)

    def test_what_is_under_etc_is_the_users_own(self):
        under = sorted(f"/{path.relative_to(self.tree)}" for path in (self.tree / "etc").rglob("*") if path.is_file())
        self.assertEqual((self.tree / "DEBIAN/conffiles").read_text().splitlines(), under)
        self.assertIn("/etc/permyx/policies/store-123.toml", under)

    def test_the_program_takes_what_comes_with_it(self):
        program, etc = self.tree / "usr/bin/permyx", self.tree / "etc/permyx"
        self.assertEqual(said(program, "--version").split()[-1], VERSION)
        for name in ("permyx", "serve"):
            said(program, "config", "validate", etc / f"{name}.toml")
            self.assertIn("errors: 0, warnings: 0", said(program, "check", "--config", etc / f"{name}.toml"))
        self.assertIn(" observe ", said(program, "policy", "validate", etc / "policies"))

    def test_the_units_name_files_that_are_there(self):
        units = self.tree / "usr/lib/systemd/system"
        self.assertEqual({path.name for path in units.iterdir()}, {path.name for path in UNITS.iterdir()})
        for service in services().values():
            for path in re.findall(r"/(?:usr|etc)/\S+", service["ExecStart"]):
                self.assertTrue((self.tree / path.lstrip("/")).is_file(), path)

    def test_what_the_samples_point_to_is_there(self):
        for sample in (self.tree / "etc/permyx").glob("*.toml"):
            for path in re.findall(r"/usr/share/[\w/.-]+\w", sample.read_text()):
                self.assertTrue((self.tree / path.lstrip("/")).exists(), path)

    def test_shells_complete_it_and_man_knows_it(self):
        share = self.tree / "usr/share"
        for shell, path in (("bash", "bash-completion/completions/permyx"), ("zsh", "zsh/vendor-completions/_permyx"),
                            ("fish", "fish/vendor_completions.d/permyx.fish")):
            self.assertEqual((share / path).read_text(), said(PERMYX, "completions", shell))
        for page in ("permyx.1.gz", "permyx-gateway.1.gz"):
            self.assertIn(b".TH permyx", gzip.decompress((share / "man/man1" / page).read_bytes()), page)

    def test_the_same_files_are_the_same_package(self):
        before = self.file.read_bytes()
        said(ROOT / ".ci/deb", PERMYX, env=FAST)
        self.assertTrue(before == self.file.read_bytes())

    def test_its_scripts_start_nothing(self):
        for name in ("postinst", "prerm", "postrm"):
            text = (self.tree / "DEBIAN" / name).read_text()
            said("sh", "-n", self.tree / "DEBIAN" / name)
            self.assertNotRegex(text, r"systemctl.*\b(start|restart|enable)\b")

    def test_it_is_installed_upgraded_and_removed(self):
        """On a copy of this machine that is thrown away."""
        if os.geteuid() != 0 or ran("unshare", "--mount", "true").returncode != 0:
            self.skipTest("only root may do this")
        with tempfile.TemporaryDirectory() as place:
            told = ran("unshare", "--mount", "bash", "-euc", ON_A_COPY, "-", place, self.file)
        if "no overlay" in told.stdout:
            self.skipTest("no overlay filesystem")
        self.assertEqual(told.returncode, 0, told.stdout + told.stderr)
        installed, upgraded, removed, purged = told.stdout.split("--\n")
        asked = [f"kill --kill-whom=main --signal=QUIT permyx-{name}" for name in ("gateway", "serve")]
        self.assertEqual(installed.splitlines(), ["permyx permyx 750", "daemon-reload", *asked])
        self.assertEqual(upgraded.splitlines(), ["daemon-reload", *asked, "# mine"])
        self.assertEqual(removed.splitlines()[0], "disable --now permyx-gateway.socket permyx-gateway.service permyx-serve.service")
        self.assertEqual(purged.splitlines()[-2:], ["event", "no configuration"])


# $1 a place, $2 the package. systemctl is one that only tells what it was asked.
ON_A_COPY = r"""
mount -t tmpfs none "$1" && cd "$1" && mkdir upper work copy
mount -t overlay -o lowerdir=/,upperdir=upper,workdir=work none copy 2>/dev/null || { echo no overlay; exit; }
mkdir -p copy/run/systemd/system copy/usr/local/bin copy/tmp
printf '#!/bin/sh\necho "$*" >> /tmp/asked\n' > copy/usr/local/bin/systemctl
chmod +x copy/usr/local/bin/systemctl
cp "$2" copy/tmp/permyx.deb
of() { chroot copy env PATH="/usr/local/bin:$PATH" "$@"; }
package() { of dpkg "$@" >&2; }
asked() { cat copy/tmp/asked; rm copy/tmp/asked; }
package -i /tmp/permyx.deb
of stat -c '%U %G %a' /var/lib/permyx
asked; echo --
echo event > copy/var/lib/permyx/event
echo '# mine' >> copy/etc/permyx/permyx.toml
package -i /tmp/permyx.deb
asked; tail -1 copy/etc/permyx/permyx.toml; echo --
package -r permyx
asked; echo --
package -P permyx
asked; ls copy/var/lib/permyx; [ -e copy/etc/permyx ] || echo no configuration
"""


class Told(socket.socket):
    """A service manager's ear."""

    def __init__(self, path):
        super().__init__(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.bind(str(path))
        self.settimeout(40)

    def next(self):
        return self.recv(4096).decode().splitlines()[0]


class Service(unittest.TestCase):
    """Both services of one machine, as their units start, reload, upgrade and stop them."""

    def test_one_machine_from_the_first_key_to_the_last_record(self):
        with contextlib.ExitStack() as ends:
            place = Path(ends.enter_context(tempfile.TemporaryDirectory()))
            shutil.copytree(ROOT / "conf/package/etc", place / "etc")
            self.here = {"/usr/bin/permyx": str(PERMYX), "/etc/permyx": f"{place}/etc", "/var/lib/permyx": f"{place}/permyx"}
            for port in (8080, 8480, 8481, 9464, 9465):
                self.here[f"127.0.0.1:{port}"] = f"127.0.0.1:{free_port()}"
            for file in (place / "etc").glob("*.toml"):
                file.write_text(self.moved(file.read_text()))
            said(PERMYX, "keys", "generate", "--data", place / "permyx-serve")

            serve, its_manager = self.started("permyx-serve", place, ends)
            listener = ends.enter_context(socket.create_server(("127.0.0.1", 0), backlog=16))
            gateway, manager = self.started("permyx-gateway", place, ends, listener)
            self.assertEqual((its_manager.next(), manager.next()), ("READY=1", "READY=1"))

            # systemd's listener, not the one of the configuration; no shop stands behind it.
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/checkout"
            shop = lambda: ask(url, '{"currency":"USD","items":[{"variant":"v","quantity":1,"price":1}]}')[0]
            self.assertEqual(shop(), 502)

            gateway.send_signal(signal.SIGHUP)
            gateway.send_signal(signal.SIGQUIT)
            self.assertEqual((manager.next(), manager.next()), ("RELOADING=1", "READY=1"))
            self.assertEqual((gateway.poll(), shop()), (None, 502))

            metrics = lambda: ask(self.moved("http://127.0.0.1:9465/metrics"))[1]
            until("what the gateway recorded was taken", lambda: re.search(r"^permyx_evidence_log_leaves ([2-9]|\d\d)", metrics(), re.M))
            # It burns nothing and ships nothing: no reason to ring.
            for good in ("permyx_ledger_up 1", "permyx_evidence_shipping_ok 1"):
                self.assertIn(good, metrics().splitlines())
            for process, ear in ((gateway, manager), (serve, its_manager)):
                process.terminate()
                self.assertEqual((ear.next(), process.wait(30)), ("STOPPING=1", 0))

    def moved(self, text):
        for there, here in self.here.items():
            text = text.replace(there, here)
        return text

    def started(self, name, place, ends, listener=None):
        manager = ends.enter_context(Told(place / f"{name}.notify"))
        log = ends.enter_context(open(place / f"{name}.log", "wb"))
        line = shlex.split(self.moved(services()[name]["ExecStart"]))
        env = os.environ | {"NOTIFY_SOCKET": str(place / f"{name}.notify"), "PERMYX_SHUTDOWN_DELAY_S": "0"}
        if listener:
            env |= {"LISTEN_FDS": "1", "LISTEN_FDNAMES": unit(f"{name}.socket")["Socket"]["FileDescriptorName"]}
            line = ["bash", "-c", f'exec 3<&{listener.fileno()}; LISTEN_PID=$$ exec "$@"', "-", *line]
        fds = (listener.fileno(),) if listener else ()
        process = subprocess.Popen(line, env=env, stdout=log, stderr=log, pass_fds=fds, preexec_fn=confined)
        ends.callback(process.wait)
        ends.callback(process.kill)
        return process, manager


def confined():
    """As MemoryDenyWriteExecute= does it, where the kernel knows it (6.3)."""
    die_with_parent()
    ctypes.CDLL(None).prctl(65, 1, 0, 0, 0)


if __name__ == "__main__":
    unittest.main()
