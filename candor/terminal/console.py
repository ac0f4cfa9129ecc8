"""The two streams of the command line: results go to `stdout`, notes and progress to `stderr`."""

import json
from typing import Any

from rich.console import Console

TABLE_WIDTH = 120  # narrower windows wrap a table, which loses less than cutting it off

stdout = Console(highlight=False, soft_wrap=True, markup=False)
stdout.width = max(stdout.width, TABLE_WIDTH)
stderr = Console(stderr=True, highlight=False, markup=False)


def print_json(data: Any) -> None:
    """Print plain data as JSON on stdout."""
    print(json.dumps(data, indent=2, allow_nan=False, default=str))  # noqa: T201
