"""What the page of versions does: promote, roll back, and start, change, promote or end a canary.

Each form carries what was in production when its page was made. If that has changed, nothing is
done.
"""

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from console.endpoints import read_reason
from model_store.errors import AliasError, CanaryError
from model_store.store.canary import (
    change_canary,
    end_canary,
    promote_version,
    read_canary,
    running_canary,
    start_canary,
)
from model_store.store.changes import roll_back, rollback_target
from model_store.store.event import WHY_LIMIT, Mode
from model_store.store.state import Canary
from model_store.store.store import Store
from monitoring.diagnosis.live_comparison import comparison_words
from monitoring.errors import FormInvalid, ModelNotInLedger
from monitoring.http.fields import read_whole_number
from monitoring.ledger.database import Ledger
from monitoring.ledger.versions import require_same_bundle
from monitoring.recalibration.subgroup_card import recalibrated
from monitoring.reports.report import Report, calibration_report, compare_live_versions

_MODES: Final[Mapping[str, Mode]] = {"share": "share", "header": "header", "shadow": "shadow"}


class VersionActs:
    """Acts on versions of one model in the name of `actor`. `ledger` is None without labels.

    They raise FormInvalid for a form that says nothing, and ModelStoreError, BundleReplaced or
    OSError for what cannot be done.
    """

    def __init__(self, store: Store, ledger: Ledger | None, model: str, *, actor: str) -> None:
        self._store, self._ledger, self._model, self._actor = store, ledger, model, actor

    def act(self, fields: Mapping[str, str]) -> None:
        acts: dict[str, Callable[[Mapping[str, str]], None]] = {
            "promote": self._promote,
            "rollback": self._roll_back,
            "canary": self._start_canary,
            "change-canary": self._change_canary,
            "promote-canary": self._promote_canary,
            "end-canary": self._end_canary,
        }
        act = acts.get(fields.get("action", ""))
        if act is None:
            raise FormInvalid(f"The form must say what to do: {', '.join(acts)}.")
        self._require_seen(fields)
        act(fields)

    def _require_seen(self, fields: Mapping[str, str]) -> None:
        """Raise AliasError unless the page showed what is in production."""
        if "seen" not in fields:
            raise FormInvalid(
                "The form's 'seen' must say which version the page showed in production; open it "
                "again."
            )
        now = self._store.production(self._model)
        if fields["seen"] != str(now):
            raise AliasError(
                f"version {now} was put into production since this page was made, so nothing was "
                "done: look again"
            )

    def _promote(self, fields: Mapping[str, str]) -> None:
        version = read_number(fields, "version")
        running = running_canary(self._store, self._model)
        if running is not None and running.version == version:
            self._require_tried(running, fields)
        self._require_ledger_agrees(version)
        promote_version(self._store, self._model, version, **self._said(fields))

    def _roll_back(self, fields: Mapping[str, str]) -> None:
        self._require_ledger_agrees(rollback_target(self._store, self._model))
        roll_back(self._store, self._model, **self._said(fields))

    def _start_canary(self, fields: Mapping[str, str]) -> None:
        version, (mode, share) = read_number(fields, "version"), _read_mode(fields)
        self._require_ledger_agrees(version)
        running = running_canary(self._store, self._model)
        if running is not None:
            raise CanaryError(
                f"version {running.version} is the canary already; end it before you start "
                "another one"
            )
        said = self._said(fields)
        start_canary(self._store, self._model, version, mode=mode, share=share, **said)

    def _change_canary(self, fields: Mapping[str, str]) -> None:
        self._running(fields)
        (mode, share), said = _read_mode(fields), self._said(fields)
        change_canary(self._store, self._model, mode=mode, share=share, **said)

    def _promote_canary(self, fields: Mapping[str, str]) -> None:
        running = self._running(fields)
        self._require_tried(running, fields)
        self._require_ledger_agrees(running.version)
        end_canary(self._store, self._model, "promoted", reason=_read_why(fields), by=self._actor)

    def _end_canary(self, fields: Mapping[str, str]) -> None:
        self._running(fields)
        end_canary(self._store, self._model, "aborted", reason=_read_why(fields), by=self._actor)

    def _require_tried(self, running: Canary, fields: Mapping[str, str]) -> None:
        """Raise CanaryError if no label speaks for the canary, unless the form says `anyway`."""
        if not self._labels(running.version) and not fields.get("anyway"):
            raise CanaryError(
                f"no answer of the canary, version {running.version}, has a label, so nothing "
                "shows that it is as good "
                "as production: label some of its answers first, or tick that you promote it anyway"
            )

    def _said(self, fields: Mapping[str, str]) -> dict[str, str]:
        """Who does it and why, for the history. Raises FormInvalid."""
        return {"by": self._actor, "why": _read_why(fields)}

    def _running(self, fields: Mapping[str, str]) -> Canary:
        """The canary of which the form speaks."""
        running = read_canary(self._store, self._model)
        is_meant = running is not None and str(running.version) == fields.get("version")
        if running is None or running.ended is not None or not is_meant:
            raise CanaryError(
                "this canary has ended since the page was made, so nothing was done: look again"
            )
        return running

    def report(self, version: int | None) -> Report | None:
        """How a version answers; None if the ledger does not know it yet, or there is none."""
        if self._ledger is None or version is None:
            return None
        try:
            return calibration_report(self._ledger, self._model, version=version, slices=False)
        except ModelNotInLedger:
            return None

    def compared(self, first: int | None, second: int) -> str:
        """How a version differs live from another, also in the group that it recalibrates.

        Empty if one never answered.
        """
        if self._ledger is None or first is None:
            return ""
        group = recalibrated(self._store.read(self._model, second, signed=False).card)
        try:
            found = compare_live_versions(self._ledger, self._model, first, second, group=group)
        except ModelNotInLedger:
            return ""
        return comparison_words(found)

    def _labels(self, version: int) -> int:
        """How many answers of a version have a label, as far as the ledger can be asked."""
        try:
            report = self.report(version)
        except SQLAlchemyError:
            return 0
        return 0 if report is None else report.coverage.labeled

    def _require_ledger_agrees(self, version: int) -> None:
        """Raise BundleReplaced if the ledger knows the version from another bundle.

        A ledger that cannot be asked now holds up nothing: servers compare again.
        """
        bundle = self._store.read(self._model, version)
        if self._ledger is not None:
            with suppress(SQLAlchemyError), self._ledger.read() as connection:
                require_same_bundle(connection, bundle.card, bundle.digest)


def _read_why(fields: Mapping[str, str]) -> str:
    """Why it is done, for the history. Raises FormInvalid."""
    return read_reason(fields, "why", limit=WHY_LIMIT)


def read_number(fields: Mapping[str, str], name: str) -> int:
    """A version in a form. Raises FormInvalid."""
    return read_whole_number(fields.get(name, ""), f"The form's '{name}'", refusal=FormInvalid)


def _read_mode(fields: Mapping[str, str]) -> tuple[Mode, float]:
    """The mode of a canary and its share of the requests. Raises FormInvalid."""
    mode = _MODES.get(fields.get("mode", ""))
    if mode is None:
        raise FormInvalid(f"The form's 'mode' must be one of {', '.join(_MODES)}.")
    if mode != "share":
        return mode, 0.0
    text = fields.get("share", "").strip().removesuffix("%").strip().replace(",", ".")
    try:
        percent = float(text)
    except ValueError:
        percent = math.nan
    if not 0 < percent <= 100:
        raise FormInvalid(
            "The share of the requests must be a number of percent above 0, at most 100."
        )
    return mode, percent / 100
