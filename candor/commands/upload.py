"""What the verbs share that send tables: the token, the sending, and what is said afterwards."""

from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

UPLOAD_TIMEOUT_S = 120.0

TokenOption = Annotated[Path | None, typer.Option(help="File that holds the bearer token, where the server wants one.")]


def token_of(file: Path | None) -> str | None:
    """The token in a file; never an argument, which other users of the machine could read."""
    return None if file is None else file.read_text(encoding="utf-8").strip()


def send_table(upload: Any, client: Any, path: str, *, needs: Collection[str], json_out: bool) -> None:
    """Send a table with progress, say what became of it, and exit with 1 if a row was not recorded."""
    from candor.terminal.console import print_json, stderr, stdout
    from candor.terminal.progress import bars

    with bars() as progress:
        done = upload.run(partial(client.upload, path), needs=needs, progress=progress)
    if done.began:
        stderr.print(f"went on after row {done.began:,}, where an earlier upload had stopped")
    rejected_file = str(upload.rejected_file) if done.rejected else None
    if json_out:
        print_json({**vars(done), "statuses": dict(done.statuses), "rejected_file": rejected_file})
    else:
        for status, count in sorted(done.statuses.items()):
            stdout.print(f"{status}: {count:,}")
        if done.rejected:
            stdout.print(f"{done.rejected:,} rows were not recorded; which and why: {rejected_file}")
    if done.rejected:
        raise typer.Exit(1)
