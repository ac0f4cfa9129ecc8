"""The hosts of other tests: made again at once, also after one was cut off with bytes on their
way.
"""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders.hosts import Hosts

pytestmark = [pytest.mark.nightly, pytest.mark.parametrize("host_count", [1])]
SENDER = """
import socket, sys
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])))
print("connected", flush=True)
sys.stdin.readline()
connection.sendall(b"lost")
print("sent", flush=True)
sys.stdin.readline()
"""


def test_a_network_is_made_again_after_a_host_was_cut_off(network: Hosts, tmp_path: Path) -> None:
    """Else the next test would find a link of that name, and skip."""
    (host,) = network.hosts
    with socket.socket() as listening:
        listening.bind((network.gateway, 0))
        listening.listen()
        command = [sys.executable, "-c", SENDER, network.gateway, str(listening.getsockname()[1])]
        sender = host.popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert sender.stdout is not None
        assert sender.stdin is not None
        assert sender.stdout.readline() == "connected\n"
        host.unplug()
        sender.stdin.write("\n")
        sender.stdin.flush()
        assert sender.stdout.readline() == "sent\n"
        network.__exit__()
        sender.communicate()
    with Hosts(1, tmp_path / "again") as again:
        assert again.hosts[0].run(["hostname"]) == "h1\n"
