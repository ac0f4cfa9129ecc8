"""`candor report` and `candor monitor`: what the ledger says about a model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from candor.commands.options import (
    HostOption,
    JsonOption,
    LedgerOption,
    OnAlarmOption,
    PortOption,
    StoreOption,
    argument,
    open_ledger,
    option,
    settings,
)
from candor.terminal.console import print_json, stdout

if TYPE_CHECKING:
    from monitoring.reports.findings import FindingsReport


def report(
    model: Annotated[
        str | None, argument("The model (default: the only one in the ledger).")
    ] = None,
    version: Annotated[int | None, option("Version (default: the one in production).")] = None,
    finding: Annotated[
        str | None, option("A finding (default: all, the most serious first).")
    ] = None,
    window: Annotated[
        str | None,
        option("'all', 'promotion', 'days:N', or 'last:N' for the latest N labels (default: all)."),
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
    ledger: LedgerOption = None,
    json_out: JsonOption = False,
) -> None:
    """Show from the ledger how calibrated a model is on the images that it served.

    With --every it writes one HTML page for each model (or the one named) into
    --to. What is missed while it does not run is made up by one report.
    CANDOR_REPORT_WEBHOOK names an address that gets each report, too.

    Example: candor report chest --since 30d --html october.html
    """
    from candor.terminal.report import report_tables
    from monitoring.reports.findings import findings_report, has_findings
    from monitoring.reports.page_data import read_page_data, window_since
    from monitoring.reports.report import only_model
    from serving.pages.report_document import report_page

    if every is not None:
        if to is None or window or since or version or finding or html or json_out:
            raise typer.BadParameter(
                "--every needs --to FOLDER, and goes with MODEL, --once and --ledger alone"
            )
        _report_every(every, to, once=once, model=model, ledger=ledger)
        return
    if to is not None or once:
        raise typer.BadParameter("--to and --once need --every")
    if window is not None and since is not None:
        raise typer.BadParameter("give either --window or --since")
    with open_ledger(ledger, reading=True) as opened:
        chosen = window_since(since, now_ns=opened.clock()) if since else window or "all"
        name = model or only_model(opened)
        if finding is None and has_findings(opened, name, version):
            overview = findings_report(opened, name, version=version, window=chosen)
            _show_findings(overview, html, json_out=json_out)
            return
        found = read_page_data(opened, name, version=version, finding=finding, window=chosen)
    if html is not None:
        html.write_text(report_page(found), encoding="utf-8")
    if json_out:
        print_json(found.report.as_dict())
        return
    for part in report_tables(found.report):
        stdout.print(part)
    if html is not None:
        stdout.print(f"The report is in {html}")


def _show_findings(overview: "FindingsReport", html: Path | None, *, json_out: bool) -> None:
    """Print the findings of a model, the most serious first."""
    from candor.terminal.report import findings_tables
    from monitoring.http.json_body import plain
    from serving.pages.report_document import findings_report_page

    if html is not None:
        html.write_text(findings_report_page(overview), encoding="utf-8")
    if json_out:
        print_json(plain(overview))
        return
    for part in findings_tables(overview):
        stdout.print(part)
    if html is not None:
        stdout.print(f"The report is in {html}")


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
