"""Machines on one machine: each a network namespace with its own processes, host name, home, /tmp and SSH server.

Needs root. The PID namespaces matter: `ray stop`, which `ray up` and `ray down` run on every machine, ends each Ray
process that it can see by name. Nothing of Ray's is ever started outside such a namespace.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

PREFIX = "likert"
NETWORK = "10.77.0"
LAUNCHER = f"{NETWORK}.1"
PACKAGES = ("openssh-server", "openssh-sftp-server", "rsync", "libwrap0", "libpopt0")

_BOOT = """
set -e
mount --make-rprivate /
mount --bind {root}/passwd /etc/passwd
{kept}
mount --rbind {root}/home {home}
mount --bind {root}/tmp /tmp
mount -t tmpfs -o size=9g tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mkdir /run/sshd
hostname {name}
{command}
"""
_SSHD = """
Port 22
ListenAddress {address}
HostKey {lab}/host_key
AuthorizedKeysFile {lab}/key.pub
PermitRootLogin yes
PasswordAuthentication no
UsePAM no
StrictModes no
PidFile none
AcceptEnv LANG
"""


class LabError(RuntimeError):
    """The lab cannot be built here; the message says why."""


@dataclass
class Machine:
    """One of the lab's machines; switched on by `boot`, and off, at once and without warning, by `crash`."""

    lab: "Lab"
    name: str
    address: str
    process: subprocess.Popen | None = None
    home: Path = field(init=False)

    def __post_init__(self) -> None:
        self.home = self.lab.folder / self.name / "home"

    @property
    def namespace(self) -> str:
        """Its network namespace."""
        return f"{PREFIX}-{self.name}"

    def boot(self) -> None:
        """Start its SSH server, in namespaces of its own."""
        command = f"exec {self.lab.sshd} -D -e -f {self.lab.folder}/sshd_{self.name}"
        log = (self.lab.folder / self.name / "sshd.log").open("ab")
        self.process = subprocess.Popen(
            self._isolated(command), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            reached = f"import socket; socket.create_connection(('{self.address}', 22), 1)"
            if not subprocess.run(
                ["ip", "netns", "exec", self.lab.bridge, sys.executable, "-c", reached], capture_output=True
            ).returncode:
                return
            time.sleep(0.2)
        raise LabError(f"the SSH server of {self.name} does not answer: {(self.lab.folder / self.name / 'sshd.log')}")

    def crash(self) -> None:
        """Kill the first process of its PID namespace, and with it every other."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def run(self, command: str, environment: dict[str, str], timeout_s: float) -> subprocess.CompletedProcess[str]:
        """Run a command there without its SSH server: for the machine that launches."""
        return subprocess.run(
            self._isolated(f"exec bash -c {_quoted(command)}"),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
        )

    def _isolated(self, command: str) -> list[str]:
        root, home = self.lab.folder / self.name, Path.home()
        # What would be hidden with the real home.
        kept = "\n".join(
            f"mount --bind {path} {root}/home/{path.relative_to(home)}"
            for path in self.lab.kept
            if path.is_relative_to(home)
        )
        script = _BOOT.format(root=root, home=home, name=self.name, kept=kept, command=command)
        namespaces = ["--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--mount-proc"]
        return ["ip", "netns", "exec", self.namespace, "unshare", *namespaces, "bash", "-c", script]


class Lab:
    """A bridge, a machine that launches, and others. As a context manager it leaves nothing behind."""

    def __init__(self, folder: Path, names: Sequence[str], kept: Sequence[Path]) -> None:
        """Folders in `kept` stay visible on all machines. Raises LabError if something is missing."""
        self.folder = folder.resolve()
        self.kept = [path.resolve() for path in kept]
        self.bridge = f"{PREFIX}-launcher"
        if os.geteuid():
            raise LabError("network namespaces need root: run this as root")
        for tool in ("ip", "unshare", "ssh", "ssh-keygen"):
            if shutil.which(tool) is None:
                raise LabError(f"there is no `{tool}`: apt-get install -y iproute2 util-linux openssh-client")
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.tools = self.folder.parent / "tools"
        self.sshd = self._tool("sshd", "/usr/sbin/sshd")
        self.rsync = self._tool("rsync", "/usr/bin/rsync")
        self.launcher = Machine(self, "launcher", LAUNCHER)
        self.machines = [Machine(self, name, f"{NETWORK}.{11 + index}") for index, name in enumerate(names)]

    def __enter__(self) -> "Lab":
        try:
            self._build()
        except BaseException:
            self._clear()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for machine in self.machines:
            machine.crash()
        self._clear()

    def _build(self) -> None:
        self._clear()
        for kind in ("key", "host_key"):
            _do("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", str(self.folder / kind))
        _do("ip", "netns", "add", self.bridge)
        inside = ("ip", "netns", "exec", self.bridge)
        _do(*inside, "ip", "link", "set", "lo", "up")
        _do(*inside, "ip", "link", "add", "bridge", "type", "bridge")
        _do(*inside, "ip", "addr", "add", f"{LAUNCHER}/24", "dev", "bridge")
        _do(*inside, "ip", "link", "set", "bridge", "up")
        for number, machine in enumerate([self.launcher, *self.machines]):
            self._furnish(machine)
            if machine is not self.launcher:
                self._plug(machine, f"lk{number}")
                machine.boot()

    def _furnish(self, machine: Machine) -> None:
        """Its home, with this Python where it is, the accounts, and a shell that finds rsync."""
        machine.home.mkdir(parents=True)
        # On disk, so that it outlives a crash; `ray up` keeps there what it knows of machines of one's own.
        (self.folder / machine.name / "tmp").mkdir(mode=0o777)
        for path in self.kept:
            if path.is_relative_to(Path.home()):
                (machine.home / path.relative_to(Path.home())).mkdir(parents=True)
        accounts = Path("/etc/passwd").read_text()
        if "\nsshd:" not in accounts:
            accounts += "sshd:x:105:65534::/run/sshd:/usr/sbin/nologin\n"
        (self.folder / machine.name / "passwd").write_text(accounts)
        profile = f'export PATH="{self.tools}/bin:$PATH"\n'
        for name in (".bashrc", ".bash_profile", ".profile"):
            (machine.home / name).write_text(profile)
        (self.folder / f"sshd_{machine.name}").write_text(_SSHD.format(address=machine.address, lab=self.folder))

    def _plug(self, machine: Machine, cable: str) -> None:
        _do("ip", "netns", "add", machine.namespace)
        inside = ("ip", "netns", "exec", machine.namespace)
        bridge = ("ip", "netns", "exec", self.bridge)
        _do(*bridge, "ip", "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", machine.namespace)
        _do(*bridge, "ip", "link", "set", cable, "master", "bridge", "up")
        _do(*inside, "ip", "link", "set", "lo", "up")
        _do(*inside, "ip", "addr", "add", f"{machine.address}/24", "dev", "eth0")
        _do(*inside, "ip", "link", "set", "eth0", "up")

    def _clear(self) -> None:
        for machine in [*self.machines, self.launcher]:
            subprocess.run(["ip", "netns", "del", machine.namespace], capture_output=True)

    def _tool(self, name: str, path: str) -> str:
        """The program, the system's own or one unpacked here: an SSH server that is installed would also be started."""
        if Path(path).exists():
            return path
        wrapper = self.tools / "bin" / name
        if not wrapper.exists():
            self._unpack()
            root = self.tools / "root"
            libraries = ":".join(str(path) for path in root.glob("**/lib/*-linux-gnu"))
            wrapper.parent.mkdir(parents=True, exist_ok=True)
            wrapper.write_text(f'#!/bin/sh\nLD_LIBRARY_PATH="{libraries}:$LD_LIBRARY_PATH" exec {root}{path} "$@"\n')
            wrapper.chmod(0o755)
        # sshd insists on being called by its full name, and starts itself anew: then it needs its libraries too.
        return str(wrapper)

    def _unpack(self) -> None:
        root = self.tools / "root"
        if root.exists():
            return
        packages = self.tools / "packages"
        packages.mkdir(parents=True, exist_ok=True)
        packages.chmod(0o777)
        done = subprocess.run(["apt-get", "download", *PACKAGES], cwd=packages, capture_output=True, text=True)
        if done.returncode:
            raise LabError(f"apt-get cannot download {' '.join(PACKAGES)}: {done.stderr.strip().splitlines()[-1]}")
        for package in packages.glob("*.deb"):
            _do("dpkg", "-x", str(package), str(root))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _do(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise LabError(f"`{' '.join(command)}` failed: {done.stderr.strip() or done.stdout.strip()}")
