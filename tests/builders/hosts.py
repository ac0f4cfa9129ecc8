"""Several hosts on one machine: Linux namespaces with an address, a network link and processes of
their own.

A host shares the disk with the others and nothing else: it has its own interfaces, process ids,
name, home folder, `/tmp` (but for the test's folder and Candor itself) and shared memory. A bridge
on this machine connects them, so that tests can send requests to them, and run a database that they
reach over the network. A host's link can be cut, and its power too.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Self

from tests.builders.processes import child_pids

ROOT: Final = Path(__file__).parents[2]
SHARED: Final = (ROOT, sys.prefix, sys.base_prefix)
# Name, home, and the folders that all hosts share, the test's first.
INSIDE: Final = """
hostname "$1"; home=$2; shift 2
mount --bind "$home/etc-hosts" /etc/hosts; mount --bind /dev/null /etc/resolv.conf
mount -t tmpfs tmpfs /dev/shm; mkdir -p "$home/tmp"
for shared; do case "$shared" in /tmp/*) mkdir -p "$home$shared"; mount --bind "$shared" "$home$shared";; esac; done
mount --rbind "$home/tmp" /tmp
ip link set lo up; echo up; exec sleep infinity
"""


class Inside(subprocess.Popen[Any]):
    """A process on a host; `nsenter`, which started it, passes on no signals."""

    def send_signal(self, sig: int) -> None:
        for pid in child_pids(self.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sig)


class Host:
    """One host; `address` is its own on the bridge, `home` its home folder."""

    def __init__(self, name: str, address: str, *, interface: str, home: Path) -> None:
        """`home` is in the folder that all hosts share."""
        self.name, self.address, self.home = name, address, home
        self._interface = interface
        home.mkdir(parents=True)
        # As Debian installs it: by its name, a host finds itself and nobody else.
        (home / "etc-hosts").write_text(
            f"127.0.0.1 localhost\n127.0.1.1 {name.rpartition('-')[2]}\n"
        )
        inside = ["unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
        inside += [
            "sh",
            "-ec",
            INSIDE,
            "sh",
            name.rpartition("-")[2],
            str(home),
            *map(str, (home.parent, *SHARED)),
        ]
        # ends with this process
        command = ["setpriv", "--pdeathsig", "KILL", "ip", "netns", "exec", name, *inside]
        self._outer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        if self._outer.stdout.readline() != "up\n":
            raise RuntimeError("this machine makes no namespaces")
        self._first = child_pids(self._outer.pid)[0]

    def popen(
        self, command: Sequence[str], env: dict[str, str] | None = None, **options: Any
    ) -> "Inside":
        """As `subprocess.Popen` on this host; `env` without what this process has."""
        into = ["nsenter", "--target", str(self._first), "--mount", "--uts", "--pid", "--net", "--"]
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("CANDOR_", "RAY_"))
        }
        own = {
            "HOME": str(self.home),
            "PATH": path,
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "ignore",
        }
        given = {
            name: value for name, value in (env or {}).items() if os.environ.get(name) != value
        }
        return Inside([*into, *command], env=inherited | own | given, **options)

    def run(self, command: Sequence[str], env: dict[str, str] | None = None) -> str:
        """The output of a command on this host, which must succeed."""
        process = self.popen(
            command, env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        output, errors = process.communicate()
        assert process.returncode == 0, f"{' '.join(command)}: {errors[-3000:]}"
        return str(output)

    def unplug(self) -> None:
        """Cut the link: packets vanish, and neither side learns of it."""
        _ip("link", "set", self._interface, "down")

    def plug(self) -> None:
        """Mend the link."""
        _ip("link", "set", self._interface, "up")

    def power_off(self) -> None:
        """End everything that runs there, without a word on the network."""
        self.unplug()
        self.close()

    def close(self) -> None:
        """End everything that runs there."""
        self._outer.kill()  # the kernel ends the first process with it, and all others with that
        self._outer.wait()
        self._outer.stdout.close()


class Hosts:
    """`count` hosts and the network between them; use it in a `with`. `gateway`: this machine's
    address there, `network` all of them.

    Raises RuntimeError where namespaces cannot be made: it takes root.
    """

    def __init__(self, count: int, folder: Path) -> None:
        if os.geteuid() != 0:
            raise RuntimeError("hosts need root")
        number = os.getpid()
        self._net, self._folder = f"10.{64 + number % 64}.{number // 64 % 256}", folder
        self._bridge, self._names = (
            f"cb{number}",
            [f"candor{number}-h{host}" for host in range(1, count + 1)],
        )
        self.gateway, self.network = f"{self._net}.254", f"{self._net}.0/24"
        self.hosts: list[Host] = []

    def __enter__(self) -> Self:
        try:
            _ip("link", "add", self._bridge, "type", "bridge")
            _ip("addr", "add", f"{self.gateway}/24", "dev", self._bridge)
            _ip("link", "set", self._bridge, "up")
            for name in self._names:
                self.hosts.append(self._make(name, len(self.hosts) + 1))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for host in self.hosts:
            host.close()
        for number, name in enumerate(self._names, 1):
            with contextlib.suppress(RuntimeError):
                # a connection of its host would keep it for minutes
                _ip("link", "del", self._interface(number))
            with contextlib.suppress(RuntimeError):
                _ip("netns", "del", name)
        with contextlib.suppress(RuntimeError):
            _ip("link", "del", self._bridge)

    def _make(self, name: str, number: int) -> Host:
        interface = self._interface(number)
        _ip("netns", "add", name)
        _ip("link", "add", interface, "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("link", "set", interface, "master", self._bridge, "up")
        _ip("-n", name, "addr", "add", f"{self._net}.{number}/24", "dev", "eth0")
        _ip("-n", name, "link", "set", "eth0", "up")
        _ip("-n", name, "route", "add", "default", "via", self.gateway)
        return Host(
            name, f"{self._net}.{number}", interface=interface, home=self._folder / f"home-{number}"
        )

    def _interface(self, number: int) -> str:
        """This machine's end of the link of a host."""
        return f"{self._bridge}v{number}"


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")
