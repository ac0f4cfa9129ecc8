"""Branch coverage of 95 % of calibration/ and monitoring/, 85 % of all: `make coverage`."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

FLOORS = {"calibration": 95.0, "monitoring": 95.0, "": 85.0}


def main() -> int:
    """Return 1 if a room is below its floor."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "coverage.json"
        subprocess.run([sys.executable, "-m", "coverage", "json", "-q", "-o", report], check=True)
        files = json.loads(report.read_text())["files"]
    below = 0
    for room, floor in FLOORS.items():
        summaries = [entry["summary"] for name, entry in files.items() if name.startswith(room)]
        covered = sum(each["covered_lines"] + each["covered_branches"] for each in summaries)
        total = sum(each["num_statements"] + each["num_branches"] for each in summaries)
        percent = 100 * covered / total
        below += percent < floor
        print(f"coverage of {room or 'the whole'}: {percent:.1f} % (floor {floor:.0f} %)")
    return int(below > 0)


if __name__ == "__main__":
    sys.exit(main())
