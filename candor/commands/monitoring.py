"""`candor report` and `candor monitor`: what the ledger says about a model."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from candor.commands.options import (
    HostOption,
    JsonOption,
    LedgerOption,
    OnAlarmOption,
    PortOption,
    StoreOption,
    TokenOption,
    argument,
    named,
    open_ledger,
    option,
    read_token,
    settings,
    web_address,
)

if TYPE_CHECKING:
    from monitoring.reports.findings import FindingsReport
    from monitoring.reports.report import Report


def report(
    model: Annotated[
        str | None, argument("The model (default: the only one in the ledger).", callback=named)
    ] = None,
    version: Annotated[int | None, option("Version (default: the one in production).")] = None,
    finding: Annotated[
        str | None, option("A finding (default: all, the most serious first).")
    ] = None,
    window: Annotated[
        str | None,
        option(
            "'now' (default: since something changed), 'all', 'promotion', 'days:N', or 'last:N' "
            "for the latest N labels."
        ),
    ] = None,
    since: Annotated[
        str | None,
        option("Only answers served since then: days such as 30d, or a date such as 2026-10-01."),
    ] = None,
    html: Annotated[
        Path | None, option("Also write the report to this file, as one HTML page.")
    ] = None,
    every: Annotated[
        str | None,
        option(
            "Keep running, and write a report after each such period (UTC).",
            metavar="day|week|month",
        ),
    ] = None,
    to: Annotated[Path | None, option("Folder for the reports of --every.")] = None,
    once: Annotated[
        bool,
        option("With --every: write what is due, then end; for a timer of the system.", "--once"),
    ] = False,
    url: Annotated[
        str | None,
        option("Read the report of this running server, not of a ledger.", callback=web_address),
    ] = None,
    token_file: TokenOption = None,
    gap: Annotated[
        float | None,
        option(
            "Say how many more labels of whom would show a gap of that size, such as 0.03.",
            min=0.02,
            max=0.5,
        ),
    ] = None,
    fail_on_alarm: Annotated[
        bool, option("Exit with 1 if the drift alarm is active.", "--fail-on-alarm")
    ] = False,
    ledger: LedgerOption = None,
    json_out: JsonOption = False,
) -> object:
    """Show from the ledger how calibrated a model is on the images that it served.

    With --every it writes one HTML page for each model (or the one named) into
    --to. What is missed while it does not run is made up by one report.
    CANDOR_REPORT_WEBHOOK names an address that gets each report, too.

    Example: candor report chest --since 30d --html october.html
    """
    from candor.terminal.report import Reported
    from candor.terminal.verb_result import print_made

    if every is not None:
        others = (window, since, version, finding, html, json_out, url, gap, fail_on_alarm)
        if to is None or any(others):
            raise typer.BadParameter(
                "--every needs --to FOLDER, and goes with MODEL, --once and --ledger alone"
            )
        _report_every(every, to, once=once, model=model, ledger=ledger)
        return None
    if to is not None or once:
        raise typer.BadParameter("--to and --once need --every")
    if window is not None and since is not None:
        raise typer.BadParameter("give either --window or --since")
    if url is not None and (html is not None or ledger is not None):
        raise typer.BadParameter("--url goes without --ledger and --html")
    if url is None:
        chosen = partial(_window, window, since)
        found = _of_ledger(ledger, model, version, finding, chosen, html, gap)
    else:
        chosen_now = _window(window, since, time.time_ns())
        asked = {"version": version, "finding": finding, "window": chosen_now, "gap": gap}
        found = _of_server(url, token_file, model, asked)
    made = Reported(found, html, planned=gap is not None)
    shown = made.as_dict() if json_out else made
    if fail_on_alarm and _has_alarm(found):
        print_made(shown)
        raise typer.Exit(1)
    return shown


def _of_ledger(
    ledger: str | None,
    model: str | None,
    version: int | None,
    finding: str | None,
    window: Callable[[int], str],
    html: Path | None,
    gap: float | None,
) -> "Report | FindingsReport":
    """Read a report, and write it to `html` if that is a file."""
    from monitoring.reports.findings import findings_report, is_of_one
    from monitoring.reports.page_data import read_page_data
    from monitoring.reports.report import only_model
    from serving.pages.report_document import findings_report_page, report_page

    with open_ledger(ledger, reading=True) as opened:
        chosen, name = window(opened.clock()), model or only_model(opened)

        found: Report | FindingsReport
        if is_of_one(opened, name, version, finding):
            data = read_page_data(
                opened, name, version=version, finding=finding, window=chosen, gap=gap
            )
            found, page = data.report, partial(report_page, data)
        else:
            found = findings_report(opened, name, version=version, window=chosen)
            page = partial(findings_report_page, found)
    if html is not None:
        html.write_text(page(), encoding="utf-8")
    return found


def _of_server(
    url: str, token_file: Path | None, model: str | None, asked: dict[str, Any]
) -> "Report | FindingsReport":
    """Ask a running server for a report."""
    from candor.terminal.remote_report import read_report
    from serving.client import Client

    with Client(url, token=read_token(token_file)) as client:
        said = client.calibration(model or client.only_model(), **asked)
    try:
        return read_report(said)
    except (KeyError, TypeError, ValueError) as error:
        raise typer.BadParameter(
            f"{url} answers with a report that this release cannot read; upgrade the older one"
        ) from error


def _window(window: str | None, since: str | None, now_ns: int) -> str:
    """The window that --window or --since means."""
    from monitoring.reports.page_data import window_since

    return window or "now" if since is None else window_since(since, now_ns=now_ns)


def _has_alarm(found: "Report | FindingsReport") -> bool:
    """Whether the drift alarm is active, of any finding."""
    return any(each.drift is not None and each.drift.active for each in found.reports)


def _report_every(
    every: str, folder: Path, *, once: bool, model: str | None, ledger: str | None
) -> None:
    """Write reports at regular times; exit with 1 if --once left something undone."""
    from candor.commands.scheduled_reports import Webhook, keep_reporting
    from serving.pages.report_document import Period

    if every not in tuple(Period):
        raise typer.BadParameter(f"--every is {every!r}; expected day, week or month")
    secret = settings(ledger=ledger).report_webhook
    webhook = None if secret is None else Webhook(secret.get_secret_value())
    with open_ledger(ledger, reading=True) as opened:
        if not keep_reporting(
            opened, folder, Period(every), model=model, webhook=webhook, once=once
        ):
            raise typer.Exit(1)


def monitor(
    host: HostOption = None,
    port: PortOption = None,
    ledger: LedgerOption = None,
    on_alarm: OnAlarmOption = None,
    store: StoreOption = None,
) -> None:
    """Run monitoring as a server of its own, for model servers that only record.

    It takes labels and predictions, and serves reports and metrics. Set
    CANDOR_MONITOR=apart on the model servers. Several monitors can share one
    PostgreSQL: all of them answer, one leads (it prunes old answers), and
    another takes over when the leader is gone. With the store of the
    servers, its pages also act on versions; --recalibrate-on-alarm needs it.

    Example: candor monitor --port 8081
    """
    from serving.process.monitor_server import serve_monitor

    chosen = settings(
        host=host, port=port, store=store, ledger=ledger, recalibrate_on_alarm=on_alarm
    )
    raise typer.Exit(serve_monitor(chosen))
