"""A server's link is cut inside a transaction: PostgreSQL soon frees all its locks."""

import subprocess
import sys
import time

import pytest
from sqlalchemy.exc import OperationalError

from monitoring.ledger.database import Ledger
from monitoring.ledger.locks import NAMESPACE, Lock, lock
from tests.builders.hosts import Hosts
from tests.builders.postgres import Cluster
from tests.builders.processes import wait_until

# twelve seconds; test_postgres.py asks PostgreSQL what it was told
pytestmark = [pytest.mark.nightly, pytest.mark.parametrize("host_count", [1])]
HOLDER = """
import sys, time
from monitoring.ledger.database import Ledger
from monitoring.ledger.locks import NAMESPACE, Lock, lock
ledger = Ledger(sys.argv[1])
assert ledger.claim(NAMESPACE + Lock.LEADER).held()
with ledger.write() as connection:
    lock(connection, Lock.VERSION, 1)
    print("held", flush=True)
    time.sleep(1000)
"""
FREE_S = 60.0  # far less than the two hours that PostgreSQL waits by itself


def test_what_a_lost_host_held_is_free_again(network: Hosts, network_database: Cluster) -> None:
    url = network_database.make_database()
    (host,) = network.hosts
    with Ledger(url) as ledger:
        holder = host.popen([sys.executable, "-c", HOLDER, url], stdout=subprocess.PIPE, text=True)
        assert holder.stdout.readline() == "held\n"
        claim = ledger.claim(NAMESPACE + Lock.LEADER)
        assert not claim.held()
        host.unplug()
        began_s = time.monotonic()
        wait_until(claim.held, "the leader's lock")
        print(f"leader's lock free after {time.monotonic() - began_s:.1f} s")

        def writes() -> bool:
            try:
                with ledger.write() as connection:
                    lock(connection, Lock.VERSION, 1)
            except OperationalError:  # waited for as long as a writer waits
                return False
            return True

        wait_until(lambda: writes() or time.monotonic() - began_s > FREE_S, "the lock of labels")
        waited_s = time.monotonic() - began_s
        print(f"labels' lock free after {waited_s:.1f} s")
        assert waited_s < FREE_S
        claim.close()
    host.close()
    holder.communicate()
