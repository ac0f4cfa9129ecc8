"""`python -m monitoring.dashboards`: write the JSON of every dashboard beside its description."""

from pathlib import Path

from monitoring.dashboards.boards import BOARDS
from monitoring.dashboards.frame import as_json

if __name__ == "__main__":
    for name, describe in BOARDS.items():
        (Path(__file__).parent / f"{name}.json").write_text(as_json(describe()), encoding="utf-8")
