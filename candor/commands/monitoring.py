"""`candor report` and `candor monitor`: what the ledger says about a model."""

import dataclasses
import inspect
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from calibration.wording import parameter
from candor.commands.options import (
    FilePath,
    OnAlarm,
    Place,
    Within,
    WrongUse,
    open_ledger,
    read_token,
    settings,
    unused,
    web_address,
)
from candor.commands.verb import verb

if TYPE_CHECKING:
    from candor.terminal.report import Reported
    from monitoring.reports.findings import FindingsReport
    from monitoring.reports.report import Report


@verb
def report(
    model: str | None = None,
    *,
    version: int | None = None,
    finding: str | None = None,
    window: str | None = None,
    since: str | None = None,
    html: FilePath | None = None,
    url: str | None = None,
    token_file: FilePath | None = None,
    gap: Annotated[float | None, Within(0.02, 0.5)] = None,
    ledger: str | None = None,
) -> "Reported":
    """Show from the ledger how calibrated a model is on the images that it served.

    Example: candor report chest --since 30d --html october.html

    Args:
        model: The model (default: the only one in the ledger).
        version: Version (default: the one in production).
        finding: A finding (default: all, the most serious first).
        window: 'now' (default: since something changed), 'all', or 'days:N'.
        since: Only answers served since then: days such as 30d, or a date such as 2026-10-01.
        html: Also write the report to this file, as one HTML page.
        url: Read the report of this running server, not of a ledger.
        gap: Say how many more labels of whom would show a gap of that size, such as 0.03.

    Returns:
        The report, of all findings if there are several: `report`, `has_alarm`.

    Raises:
        Refused: there is no such model, version or finding, or no ledger or server to ask.
    """
    from candor.terminal.report import Reported

    if window is not None and since is not None:
        raise WrongUse(f"give either {parameter('window')} or {parameter('since')}")
    if url is None:
        unused(f"no server is asked; name it by {parameter('url')}", token_file=token_file)
        chosen = partial(_window, window, since)
        found = _of_ledger(ledger, model, version, finding, chosen, html, gap)
    else:
        unused(f"the server that {parameter('url')} names reports", html=html, ledger=ledger)
        chosen_now = _window(window, since, time.time_ns())
        asked = {"version": version, "finding": finding, "window": chosen_now, "gap": gap}
        found = _of_server(url, token_file, model, asked)
        if gap is not None and len(found.reports) > 1:
            raise _of_several()
    return Reported(found, html, planned=gap is not None)


def report_in_shell(*, fail_on_alarm: bool = False, **given: Any) -> "Reported":
    """Report, with an exit code for scripts.

    Args:
        fail_on_alarm: Exit with 1 if the drift alarm is active.
    """
    made: Reported = inspect.unwrap(report)(**given)
    return dataclasses.replace(made, fails_on_alarm=fail_on_alarm)


def _of_ledger(
    ledger: str | None,
    model: str | None,
    version: int | None,
    finding: str | None,
    window: Callable[[int], str],
    html: FilePath | None,
    gap: float | None,
) -> "Report | FindingsReport":
    """Read a report, and write it to `html` if that is a file."""
    from console.report_document import report_page
    from monitoring.reports.findings import findings_report, is_of_one
    from monitoring.reports.page_data import read_page_data
    from monitoring.reports.report import only_model

    with open_ledger(ledger, reading=True) as opened:
        chosen, name = window(opened.clock()), model or only_model(opened)

        found: Report | FindingsReport
        of_one = is_of_one(opened, name, version, finding)
        if gap is not None and not of_one:
            raise _of_several()
        if of_one:
            data = read_page_data(
                opened, name, version=version, finding=finding, window=chosen, gap=gap
            )
            found, page = data.report, partial(report_page, data)
        else:
            found = findings_report(opened, name, version=version, window=chosen)
            page = partial(report_page, found)
    if html is not None:
        Path(html).write_text(page(), encoding="utf-8")
    return found


def _of_several() -> WrongUse:
    return WrongUse(f"{parameter('gap')}: name one finding by {parameter('finding')}")


def _of_server(
    url: str, token_file: FilePath | None, model: str | None, asked: dict[str, Any]
) -> "Report | FindingsReport":
    """Ask a running server for a report."""
    from candor.terminal.remote_report import read_report
    from model_store.addresses import shown_address
    from serving.client import Client

    with Client(web_address(url), token=read_token(token_file)) as client:
        answer = client.calibration(model or client.only_model(), **asked)
    try:
        return read_report(answer)
    except (KeyError, TypeError, ValueError) as error:
        raise WrongUse(
            f"{shown_address(url)} answers with a report that this release cannot read; upgrade "
            "the older one"
        ) from error


def _window(window: str | None, since: str | None, now_ns: int) -> str:
    """The window that `window` or `since` means."""
    from monitoring.reports.page_data import window_since

    return window or "now" if since is None else window_since(since, now_ns=now_ns)


def monitor(
    *,
    host: str | None = None,
    port: int | None = None,
    ledger: str | None = None,
    recalibrate_on_alarm: OnAlarm | None = None,
    store: Place | None = None,
) -> int:
    """Run monitoring as a server of its own, for model servers that only record.

    It takes labels and predictions, and serves reports and metrics. Set CANDOR_MONITOR=apart on the
    model servers. Several monitors can share one PostgreSQL: all of them answer, one leads (it
    prunes old answers), and another takes over when the leader is gone. With the store of the
    servers, its pages also act on versions; --recalibrate-on-alarm needs it.

    Example: candor monitor --port 8081
    """
    from console.monitor_server import serve_monitor

    return serve_monitor(
        settings(
            host=host,
            port=port,
            store=store,
            ledger=ledger,
            recalibrate_on_alarm=recalibrate_on_alarm,
        )
    )
