"""RUN/finished.json: when a run was finished. Every other file of it is the same if the run is
repeated.

The card takes its date from here, so that exporting a run twice writes the same bytes.
"""

import json
from datetime import UTC, datetime
from pathlib import Path

from training.errors import BadRun

_FILE = "finished.json"


def write_finish(folder: Path) -> None:
    """Write the present time."""
    text = json.dumps({"finished_at": datetime.now(UTC).isoformat(timespec="seconds")})
    (folder / _FILE).write_text(text + "\n")


def read_finish(folder: Path) -> datetime:
    """When the run was finished; for a run that is older than this file, when its config.json was
    written.

    Raises BadRun if the file is not what `write_finish` writes.
    """
    path = folder / _FILE
    if not path.exists():
        return datetime.fromtimestamp(int((folder / "config.json").stat().st_mtime), UTC)
    try:
        finished = datetime.fromisoformat(json.loads(path.read_text())["finished_at"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadRun(f"{path} does not say when the run was finished ({error!r})") from error
    return finished if finished.tzinfo else finished.replace(tzinfo=UTC)
