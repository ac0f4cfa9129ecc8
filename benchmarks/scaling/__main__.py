"""python -m benchmarks.scaling: measures what answers and labels cost here, and computes days of up
to a billion.

Without --postgres only SQLite is measured, and nothing is computed. The database should be empty,
on this machine, and a user that may connect to it as the URL says.
"""

import argparse
import json
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.scaling.ledgers import LedgerCost, measure
from benchmarks.scaling.servers import answer_cpu_s
from benchmarks.scaling.simulation import Constants, simulate
from model_store.installation import release

ANSWERS = (10**4, 10**5, 10**6, 10**7, 10**8, 10**9)
TYPICAL = "resnet18"


def main() -> None:
    """Measure, compute, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument(
        "--postgres", metavar="URL", help="an empty PostgreSQL database on this machine"
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="of each load")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        costs = [measure(f"sqlite:///{Path(folder) / 'ledger.db'}", seconds=chosen.seconds)]
    if chosen.postgres:
        costs.append(measure(chosen.postgres, seconds=chosen.seconds))
    servers = {"no ledger": answer_cpu_s(None, seconds=chosen.seconds)}
    if chosen.postgres:
        servers["PostgreSQL"] = answer_cpu_s(chosen.postgres, seconds=chosen.seconds)
    found: dict[str, Any] = {
        "release": release(),
        "cores": os.cpu_count(),
        "ledgers": [asdict(cost) for cost in costs],
        "server_cpu_s": servers,
    }
    if chosen.postgres:
        known = _constants(costs[-1], servers["PostgreSQL"])
        found["days"] = [asdict(simulate(answers, known)) for answers in ANSWERS]
    json.dump(found, sys.stdout, indent=2)


def _constants(cost: LedgerCost, servers: dict[str, float]) -> Constants:
    return Constants(
        server_cpu_s=servers[TYPICAL],
        database_cpu_s=cost.answers.database_cpu_s,
        answer_bytes=cost.answers.bytes,
        label_bytes=cost.labels.bytes,
        rows_per_s=max(cost.most_rows_per_s.values()),
    )


if __name__ == "__main__":
    main()
