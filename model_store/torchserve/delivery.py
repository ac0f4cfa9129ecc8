"""Sends a worker's answers to `candor monitor`, in a thread: no request waits for the monitor.

An answer leaves the outbox when the monitor has it. While the monitor is away, or refuses the
token, answers stay.
"""

import json
import logging
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import Any

from model_store.torchserve.counters import WorkerCounters
from model_store.torchserve.outbox import OutboxFile, left_behind

logger = logging.getLogger(__name__)

TIMEOUT_S = 30.0
LOOK_S = 15.0  # between two looks for files of workers that have ended
LONGEST_WAIT_S = 30.0
KEPT = ("accepted", "unchanged", "expired")
# Of the latter, declaring it says why, and answers stay.
_UNDECLARED = ("unknown_model", "model_served")


class MonitorAway(Exception):
    """The monitor cannot take answers now; the message says why."""


class _ForeignModel(Exception):
    """The monitor does not know the model of a file that another model's worker left behind."""


class MonitorConnection:
    """The monitor at `url`. `token_file` is read each time, so a token can be rotated."""

    def __init__(self, url: str, token_file: Path | None) -> None:
        self.url = url.rstrip("/")
        self._token_file = token_file
        # Proxies of the environment are for the way out; a monitor is inside.
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPSHandler(context=ssl.create_default_context()),
        )

    def post(self, path: str, body: Any) -> tuple[int, Any]:
        """Return status and parsed answer. Raises MonitorAway for none, 5xx and 429."""
        headers = {"Content-Type": "application/json"}
        try:
            if self._token_file is not None:
                headers["Authorization"] = f"Bearer {_read_token(self._token_file)}"
            request = urllib.request.Request(self.url + path, json.dumps(body).encode(), headers)
            with self._opener.open(request, timeout=TIMEOUT_S) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                said = error.read()
            if error.code >= 500 or error.code in (401, 403, 408, 429):
                raise MonitorAway(f"{error.code} {_detail(said)}") from None
            return error.code, _parsed(said)
        except (OSError, ValueError, HTTPException) as error:
            raise MonitorAway(str(error)) from None


def _read_token(file: Path) -> str:
    """The token in the file. Raises ValueError, which does not repeat what the file holds."""
    words = file.read_text(encoding="utf-8", errors="replace").split()
    if len(words) != 1 or not (words[0].isascii() and words[0].isprintable()):
        raise ValueError(f"{file} must hold one bare token, without scopes and names")
    return words[0]


class Delivery:
    """The thread. `start` it once; `wake` it after each append to `own`."""

    def __init__(
        self,
        own: OutboxFile,
        monitor: MonitorConnection,
        *,
        declaration: Mapping[str, Any],
        counters: WorkerCounters,
    ) -> None:
        """`declaration` is the body of POST /models-log for this worker's model."""
        self._own, self._monitor = own, monitor
        self._declaration, self._counters = declaration, counters
        self._awake = threading.Event()
        self._pause = threading.Event()  # never set
        self._failures = 0

    def start(self) -> None:
        """Deliver from now on, until the process ends."""
        threading.Thread(target=self._run, name="candor-delivery", daemon=True).start()

    def wake(self) -> None:
        """Say that there are new answers."""
        self._awake.set()

    def _run(self) -> None:
        while True:
            self._awake.clear()
            delay_s = self._try_once()
            (self._pause if self._failures else self._awake).wait(delay_s)

    def _try_once(self) -> float:
        try:
            return self.run_once()
        except Exception:  # the edge of the thread: without it, answers would pile up unseen
            logger.exception("candor: answers cannot be delivered")
            self._failures += 1
            return LONGEST_WAIT_S

    def run_once(self) -> float:
        """Deliver all that is there; return the seconds until the next attempt."""
        try:
            self._deliver(self._own)
            for file in left_behind(self._own.path.parent):
                self._deliver_left(file)
        except MonitorAway as away:
            self._failures += 1
            if self._failures == 1:
                logger.warning(
                    "candor: the monitor at %s is away, answers wait: %s", self._monitor.url, away
                )
            return min(LONGEST_WAIT_S, 0.5 * 2.0 ** min(self._failures, 10))
        except OSError:
            logger.exception("candor: the outbox %s cannot be read", self._own.path.parent)
            return LONGEST_WAIT_S
        if self._failures:
            logger.warning("candor: the monitor at %s is back", self._monitor.url)
        self._failures = 0
        return LOOK_S

    def _deliver_left(self, file: OutboxFile) -> None:
        try:
            self._deliver(file)
        except _ForeignModel:
            file.close()
        except BaseException:
            file.close()
            raise
        else:
            file.remove()

    def _deliver(self, file: OutboxFile) -> None:
        while True:
            rows, size_bytes = file.rows()
            if not size_bytes:
                return
            if rows:
                self._send(rows)
            file.deliver(size_bytes)

    def _send(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Send rows of one model and count them. Raises MonitorAway, _ForeignModel: they stay."""
        status, answer = self._monitor.post("/predictions-log", list(rows))
        if isinstance(answer, dict) and answer.get("error") in _UNDECLARED:
            if any(rows[0][name] != self._declaration[name] for name in ("model", "version")):
                raise _ForeignModel
            self._declare()
            status, answer = self._monitor.post("/predictions-log", list(rows))
        results = answer.get("results") if isinstance(answer, dict) else answer
        if not isinstance(results, list) or len(results) != len(rows):
            raise MonitorAway(f"it answered {status}: {str(answer)[:300]}")
        refused = [result for result in results if result.get("status") not in KEPT]
        self._counters.deliver(len(rows) - len(refused))
        if refused:
            self._counters.lose(len(refused))
            logger.error(
                "candor: the monitor refused %d answers: %s", len(refused), refused[0].get("detail")
            )

    def _declare(self) -> None:
        status, answer = self._monitor.post("/models-log", self._declaration)
        if status != HTTPStatus.OK:
            raise MonitorAway(f"it does not accept this model's card: {status} {answer}")


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return {"detail": body[:200].decode(errors="replace")}


def _detail(body: bytes) -> str:
    parsed = _parsed(body)
    return str(parsed.get("detail", parsed)) if isinstance(parsed, dict) else str(parsed)[:200]
