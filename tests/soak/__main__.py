"""python -m tests.soak [PART ...]: all parts, or those named, then the table of what was run.

Each part leaves its figures in FOLDER/PART.json, so parts can run one by one, at different times;
`table` alone prints what is there. The exit code is 1 if a part lost something, failed, or has not
run.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from tests.soak.parts import PARTS, Figures, Sizes

FOLDER = Path("build/soak")


def main() -> int:
    """Run the parts and print the table. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; or table")
    parser.add_argument(
        "--kills", type=int, default=100, help="kills a database; other events come on top"
    )
    parser.add_argument(
        "--requests", type=int, default=100_000, help="broken requests; a tenth are hypothesis's"
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="length of the storm")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the figures are")
    chosen = parser.parse_args()
    if unknown := set(chosen.parts) - {*PARTS, "table"}:
        parser.error(f"no part is called {', '.join(sorted(unknown))}")
    chosen.folder.mkdir(parents=True, exist_ok=True)
    sizes = Sizes(chosen.kills, chosen.requests, chosen.minutes, chosen.seed)
    if chosen.parts != ["table"]:
        for name in chosen.parts or PARTS:
            _run(name, sizes, chosen.folder)
    return _table(chosen.folder, [name for name in chosen.parts if name != "table"] or list(PARTS))


def _run(name: str, sizes: Sizes, folder: Path) -> None:
    """Run a part and write down its figures, or why it failed."""
    started_s, begun = time.monotonic(), time.strftime("%Y-%m-%d %H:%M")
    print(f"== {name}", flush=True)
    try:
        figures, failure = PARTS[name](sizes), None
    except Exception as error:  # noqa: BLE001  whatever it is, the other parts run
        figures, failure = Figures(""), f"{type(error).__name__}: {error}"[:2000]
        print(failure, flush=True)
    record = {
        "begun": begun,
        "seconds": round(time.monotonic() - started_s),
        "commit": _commit(),
        "figures": figures.text,
        "failure": failure or figures.failure,
    }
    (folder / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")


def _table(folder: Path, names: list[str]) -> int:
    """Print the figures of the parts. Returns 1 if one is missing or failed."""
    rows, whole = [], True
    for name in names:
        file = folder / f"{name}.json"
        if not file.exists():
            rows.append((name, "-", "-", "has not run"))
            whole = False
            continue
        found = json.loads(file.read_text())
        whole = whole and found["failure"] is None
        verdict = (
            "held"
            if found["failure"] is None
            else f"FAILED: {found['failure'].splitlines()[0][:300]}"
        )
        rows.append(
            (name, found["commit"], f"{found['seconds']} s", f"{verdict}. {found['figures']}")
        )
    print("\n| part | commit | took | figures |\n|---|---|---|---|")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    print("\nNothing was lost." if whole else "\nThis soak did not hold.", flush=True)
    return 0 if whole else 1


def _commit() -> str:
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main())
