"""A `candor serve` process of another program: of the demo, or of a notebook."""

import base64
import os
import re
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Mapping
from html import escape
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO, Final, Self
from urllib.parse import quote

from candor.terminal.predictions import short_text
from hosting.errors import ServingError
from model_store.confinement import close_pipes
from serving.client import Client

START_S = 60.0
STOP_S = 30.0
_PAGES = {"report": "/models/{}/report/page", "try an image": "/try/{}", "label": "/label/{}"}
_LOOK_S = 0.02
_SAID_BYTES = 4096  # of the end of its log, for an error
# It ends once its standard input does, however this process ends. Importing a module that is None
# in sys.modules raises ImportError: this proves that serving needs no torch.
_PROGRAM = (
    "import sys; sys.modules['torch'] = None; from model_store.kernel import end_with; "
    "end_with(0); from candor.command_line import main; main()"
)
# Signatures of what a browser draws, by its media type
_DRAWN: Final = {"image/png": b"\x89PNG", "image/jpeg": b"\xff\xd8\xff", "image/webp": b"RIFF"}


class ServerFailed(ServingError):
    """The server did not start."""


class ImageAnswer(dict[str, Any]):
    """What `Client.predict` gives for an image; a notebook shows the two together."""

    def __init__(self, answer: Mapping[str, Any], image: bytes) -> None:
        super().__init__(answer)
        self._image = image

    def __repr__(self) -> str:
        return short_text(self)

    def _repr_html_(self) -> str:
        kinds = (kind for kind, start in _DRAWN.items() if self._image.startswith(start))
        kind = next(kinds, None)
        data = base64.b64encode(self._image).decode()
        picture = f'<img alt="" width="220" src="data:{kind};base64,{data}">' if kind else ""
        return f"{picture}<pre>{escape(repr(self))}</pre>"


class ServerProcess:
    """A server that answers images; it ends with `close`, a `with` block, or this process.

    Attributes:
        url: address of the server, and of its pages.
        client: its client, for labels and reports.
        ready_s: seconds from the start until it was ready.
    """

    def __init__(
        self,
        settings: Mapping[str, object],
        *,
        log: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start `candor serve`, and wait until it is ready. Raises ServerFailed.

        `settings` are over those of `environment`, which is by default this process's.
        """
        started = time.monotonic()
        self._log: BinaryIO = TemporaryFile() if log is None else log.open("w+b")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, "serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**(os.environ if environment is None else environment), **_variables(settings)},
            process_group=0,  # Ctrl-C is for this process
        )
        self._stop = weakref.finalize(self, _end, self._process, self._log)
        overdue = threading.Timer(START_S, self._process.kill)
        overdue.start()
        try:
            self.url = self._read_url()
            self.client = Client(self.url)
            while not self.client.ready():
                if self._process.poll() is not None:
                    self.client.close()
                    raise self._failure()
                time.sleep(_LOOK_S)
        finally:
            overdue.cancel()
        self.ready_s = time.monotonic() - started

    def predict(self, image: str | Path | bytes, **options: Any) -> ImageAnswer:
        """Ask for one image: a path, or the bytes of a file. `options` are those of
        `Client.predict`.
        """
        content = image if isinstance(image, bytes) else Path(image).read_bytes()
        return ImageAnswer(self.client.predict(content, **options), content)

    def close(self) -> None:
        """Stop it as an orchestrator would: it answers what it has admitted."""
        self.client.close()
        self._stop()

    def wait(self) -> None:
        """Wait until it has ended."""
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Candor serves on {self.url}"

    def _repr_html_(self) -> str:
        models = [each["name"] for each in self.client.models()["models"]]
        pages = {"All models": "/", "API": "/docs"} | {
            f"{escape(name)}, {page}": address.format(quote(name, safe=""))
            for name in models
            for page, address in _PAGES.items()
        }
        links = (
            f'<li><a href="{self.url}{path}" target="_blank">{text}</a></li>'
            for text, path in pages.items()
        )
        return f"<p>{escape(repr(self))}</p><ul>{''.join(links)}</ul>"

    def _read_url(self) -> str:
        """Return the address in the first line that the server prints once it listens."""
        line = self._process.stdout.readline() if self._process.stdout else b""
        found = re.search(r"https?://\S+", line.decode())
        if found is None:
            raise self._failure()
        return found[0]

    def _failure(self) -> ServerFailed:
        size = os.fstat(self._log.fileno()).st_size
        said = os.pread(self._log.fileno(), _SAID_BYTES, max(size - _SAID_BYTES, 0))
        self._stop()
        lines = said.decode(errors="replace").splitlines()[-3:]
        return ServerFailed(f"the server did not become ready; it said: {' | '.join(lines)}")


def _variables(settings: Mapping[str, object]) -> dict[str, str]:
    return {f"CANDOR_{name.upper()}": str(value) for name, value in settings.items()}


def _end(process: "subprocess.Popen[bytes]", log: BinaryIO) -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    close_pipes(process)
    log.close()
