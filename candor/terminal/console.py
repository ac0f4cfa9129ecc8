"""The streams of the command line: results on `stdout`, notes and progress on `stderr`.

Everything that is printed goes through them, and they print text as it is. Names of classes, tags
and files come from users: they are never markup or emoji codes, and a control character in them is
shown, not obeyed.
"""

import json
import os
import re
from typing import Any

from rich.console import Console
from rich.text import Text

TABLE_WIDTH = 120  # of tables that go to no terminal
# All control characters but tab and line feed, characters that reverse the direction of text, and
# lone surrogates.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class LiteralConsole(Console):
    """A console that prints every text as it is. A terminal wraps it between words.

    Where the reader has gone, as `| head` does, it is quiet from then on, and the work goes on.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def print(self, *objects: Any, soft_wrap: bool | None = None, **options: Any) -> None:
        """As Console.print, and nothing is cropped. A command is one line, to be copied."""
        if soft_wrap is None:
            copied = any(isinstance(each, str) and "Next: " in each for each in objects)
            soft_wrap = copied or not self.is_terminal
        super().print(*objects, soft_wrap=soft_wrap, **{"crop": False} | options)

    def on_broken_pipe(self) -> None:
        """Write the rest to nowhere; Rich would end the program, and files would be missing."""
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.file.fileno())
        os.close(nowhere)

    def render_str(self, text: str, **options: Any) -> Text:
        """As Console.render_str, with control characters made visible."""
        return super().render_str(visible(text), **options)


def visible(text: str) -> str:
    r"""Return the text with what a terminal would obey, or could not print, as an escape.

    >>> print(visible("\x1b[31mlung\udcff"))
    \x1b[31mlung\udcff
    """
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)


stdout = LiteralConsole()
if not stdout.is_terminal:
    stdout.width = max(stdout.width, TABLE_WIDTH)
stderr = LiteralConsole(stderr=True)


def note(text: str, *, style: str | None = None) -> None:
    """Print a line on stderr."""
    stderr.print(text, style=style)


def confirm(question: str) -> None:
    """Ask on stderr whether to go on; end the program if not."""
    import typer

    typer.confirm(question, abort=True, err=True)


def print_json(data: Any) -> None:
    """Print plain data as JSON on stdout."""
    print(json.dumps(data, indent=2, allow_nan=False, default=str))  # noqa: T201


def note_weaker_bounds() -> None:
    """Say it where the kernel does not enforce limits."""
    from model_store import kernel

    if not kernel.ENFORCES:
        note(kernel.WEAKER)


def sentence(error: Exception) -> str:
    """Return what went wrong and with what, also for errors that leave one of them out.

    >>> sentence(FileNotFoundError(2, "No such file or directory", "labels.csv"))
    'labels.csv: No such file or directory'
    """
    from httpx import TransportError
    from sqlalchemy.exc import DBAPIError

    if isinstance(error, TransportError):
        reason = re.sub(r"^\[Errno -?\d+\] ", "", str(error)).rstrip(".") or type(error).__name__
        where = error.request.url.copy_with(userinfo=b"")  # which would be a secret
        return (
            f"no answer from {where}: {reason}; check the address, and that the server is running"
        )
    if isinstance(error, DBAPIError):  # whose text is the whole SQL statement
        return f"the ledger's database failed: {error.orig}"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)
