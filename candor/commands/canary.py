"""`candor canary`: try out a version beside production before promoting it."""

from typing import TYPE_CHECKING, Annotated, Final

from calibration.wording import parameter
from candor.commands.options import (
    Place,
    Version,
    Within,
    WrongUse,
    open_ledger,
    open_store,
    require_model,
    said,
    settings,
)
from candor.terminal.verb_result import PlainResult

if TYPE_CHECKING:
    from monitoring.diagnosis.live_comparison import LiveComparison
    from monitoring.reports.report import Report

DEFAULT_SHARE: Final = 0.05


def start(
    model: str,
    version: Version,
    *,
    share: Annotated[float | None, Within(0, 1)] = None,
    header: bool = False,
    shadow: bool = False,
    store: Place | None = None,
    ledger: str | None = None,
) -> PlainResult:
    """Start a canary that answers a share of the requests (0.05), or by header, or in shadow.

    Example: candor canary start chest 2 --share 0.05

    Args:
        version: The version to try out.
        share: Share of the requests that it answers.
        header: Answer only requests with X-Candor-Canary: true.
        shadow: Compute every answer beside production and only record it.
    """
    from candor.commands.ledger_digest import require_ledger_agrees
    from model_store.store.canary import start_canary
    from model_store.store.event import Mode

    if (share is not None) + header + shadow > 1:
        names = map(parameter, ("share", "header", "shadow"))
        raise WrongUse(f"give only one of {', '.join(names)}")
    mode: Mode = "header" if header else "shadow" if shadow else "share"
    part = 0.0 if header or shadow else DEFAULT_SHARE if share is None else share
    opened = open_store(store)
    told = require_ledger_agrees(opened.read(model, version), ledger)
    started = start_canary(opened, model, version, mode=mode, share=part)
    return PlainResult(
        {"model": model, "notes": told} | started.model_dump(mode="json"),
        *told,
        f"{model}: version {version} {started.how}. Next: candor canary status {model}",
    )


def status(model: str, *, store: Place | None = None, ledger: str | None = None) -> PlainResult:
    """Compare canary and production: answers and labels of each, and how accuracy and calibration
    differ on days on which both have labels.

    Example: candor canary status chest
    """
    from candor.terminal.canary import canary_sentence, comparison_table
    from model_store.store.canary import read_canary
    from monitoring.diagnosis.live_comparison import comparison_words
    from monitoring.http.json_body import plain

    opened = open_store(store)
    require_model(opened, model)
    canary, production = read_canary(opened, model), opened.production(model)
    versions = {"production": production, "canary": canary.version if canary else None}
    reports = {
        role: _report(model, version, ledger)
        for role, version in versions.items()
        if version is not None
    }
    is_pair = len({*versions.values()} - {None}) == 2
    is_known = is_pair and all(reports.values())
    compared = _compared(model, versions, ledger) if is_known else None
    data = {
        "canary": canary.model_dump(mode="json") if canary else None,
        "reports": {role: report and report.as_dict() for role, report in reports.items()},
        "comparison": plain(compared),
    }
    if versions["canary"] is not None and versions["canary"] == production:
        del versions["canary"]  # it was promoted: the same row twice compares nothing
    return PlainResult(
        data,
        f"{model} has no canary. `candor canary start {model} VERSION` starts one."
        if canary is None
        else f"{model}: {canary_sentence(canary)}",
        comparison_table(versions, reports),
        *([comparison_words(compared)] if is_pair else []),
    )


def promote(
    model: str, *, store: Place | None = None, ledger: str | None = None, anyway: bool = False
) -> PlainResult:
    """Put the canary into production. Running servers switch within a second and lose no request.

    Refuses a canary that was never compared with the truth, because none of its answers has a
    label.

    Example: candor canary promote chest

    Args:
        anyway: Also promote a canary whose answers have no label.
    """
    from model_store.errors import CanaryError
    from model_store.store.canary import end_canary, running_canary

    opened = open_store(store)
    canary = running_canary(opened, model)
    labels = 0 if canary is None else labels_of(model, canary.version, ledger)
    if canary is not None and not labels and not anyway:
        of = f"answer of the canary, version {canary.version} of '{model}',"
        why = f"the ledger could not be asked whether an {of} has a label"
        raise CanaryError(
            f"{why if labels is None else f'no {of} has a label'}, so nothing shows that it is as "
            "good as production: label some of its answers first, or promote it with "
            f"{parameter('anyway', True)}"
        )
    ended = end_canary(opened, model, "promoted")
    without = ", without a label" if labels == 0 else ""
    return PlainResult(
        {"model": model, "labels": labels} | ended.model_dump(mode="json"),
        f"{model}: version {ended.version} is in production{without}",
    )


def abort(model: str, *, reason: str | None = None, store: Place | None = None) -> PlainResult:
    """End the canary. Production is not affected.

    Example: candor canary abort chest --reason 'too slow'

    Args:
        reason: Why it is aborted; kept with the canary.
    """
    from model_store.store.canary import end_canary

    ended = end_canary(open_store(store), model, "aborted", reason=said(reason))
    return PlainResult(
        {"model": model} | ended.model_dump(mode="json"),
        f"{model}: the canary, version {ended.version}, has ended",
    )


def labels_of(model: str, version: int, ledger: str | None) -> int | None:
    """Return how many answers of a version have a label; None if the ledger cannot be asked."""
    from sqlalchemy.exc import SQLAlchemyError

    from monitoring.errors import LedgerError

    try:
        found = _report(model, version, ledger)
    except (LedgerError, SQLAlchemyError):
        return None
    return 0 if found is None else found.coverage.labeled


def _compared(
    model: str, versions: dict[str, int | None], ledger: str | None
) -> "LiveComparison | None":
    """Return how the canary differs live from production; None if that cannot be said."""
    from monitoring.reports.report import compare_live_versions

    numbers = [number for number in versions.values() if number is not None]
    with open_ledger(ledger, reading=True) as opened:
        return compare_live_versions(opened, model, *numbers)


def _report(model: str, version: int, ledger: str | None) -> "Report | None":
    """Return the version's report; None if the ledger is off or does not know the version yet."""
    from monitoring.errors import ModelNotInLedger
    from monitoring.reports.report import calibration_report

    if settings(ledger=ledger).ledger_url is None:
        return None
    with open_ledger(ledger, reading=True) as opened:
        try:
            return calibration_report(opened, model, version=version)
        except ModelNotInLedger:
            return None
