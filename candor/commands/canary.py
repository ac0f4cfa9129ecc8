"""`candor canary`: try a version out beside production before it is promoted."""

from typing import TYPE_CHECKING, Annotated

import typer

from candor.commands.options import JsonOption, LedgerOption, StoreOption, settings

if TYPE_CHECKING:
    from monitoring.reports.report import Report

app = typer.Typer(help="Try a version out beside production before it is promoted.", no_args_is_help=True)

ModelArgument = Annotated[str, typer.Argument(help="The model.")]


@app.command()
def start(
    model: ModelArgument,
    version: Annotated[int, typer.Argument(help="The version to try out.")],
    share: Annotated[float | None, typer.Option(min=0, max=1, help="Share of the requests that it answers.")] = None,
    header: Annotated[bool, typer.Option("--header", help="Answer only requests with X-Candor-Canary: true.")] = False,
    shadow: Annotated[bool, typer.Option("--shadow", help="Compute beside production, never answer.")] = False,
    store: StoreOption = None,
) -> None:
    """Start a canary: with a share of the requests (default: 0.05), by header, or in the shadow."""
    from candor.terminal.console import stdout
    from model_store.canary import Mode, start_canary
    from model_store.store import Store

    if (share is not None) + header + shadow > 1:
        raise typer.BadParameter("give one of --share, --header and --shadow")
    mode: Mode = "header" if header else "shadow" if shadow else "share"
    part = 0.0 if header or shadow else 0.05 if share is None else share
    start_canary(Store(settings(store=store).store), model, version, mode=mode, share=part)
    told = {
        "share": f"answers {part:.0%} of the requests",
        "header": "answers requests with X-Candor-Canary: true",
        "shadow": "computes beside production",
    }
    stdout.print(f"{model}: version {version} {told[mode]}. Next: candor canary status {model}")


@app.command()
def status(
    model: ModelArgument, store: StoreOption = None, ledger: LedgerOption = None, json_out: JsonOption = False
) -> None:
    """Show the canary beside production: how many answers and labels, and how calibrated each is."""
    from candor.terminal.canary import comparison_table
    from candor.terminal.console import print_json, stdout
    from model_store.canary import read_canary
    from model_store.store import Store

    opened = Store(settings(store=store).store)
    canary, production = read_canary(opened, model), opened.production(model)
    versions = {"production": production, "canary": canary.version if canary else None}
    reports = {role: _report(model, version, ledger) for role, version in versions.items() if version is not None}
    if json_out:
        found = {role: report and report.as_dict() for role, report in reports.items()}
        print_json({"canary": canary.model_dump(mode="json") if canary else None, "reports": found})
        return
    if canary is None:
        stdout.print(f"{model} has no canary. `candor canary start {model} VERSION` starts one.")
    else:
        state = canary.ended or "running"
        why = f": {canary.reason}" if canary.reason else ""
        stdout.print(f"{model}: canary version {canary.version}, {canary.mode} {canary.share:g}, {state}{why}")
    stdout.print(comparison_table(versions, reports))


@app.command()
def promote(model: ModelArgument, store: StoreOption = None) -> None:
    """Put the canary into production; running servers switch within a second, without losing a request."""
    from candor.terminal.console import stdout
    from model_store.canary import end_canary
    from model_store.store import Store

    ended = end_canary(Store(settings(store=store).store), model, "promoted")
    stdout.print(f"{model}: version {ended.version} is in production")


@app.command()
def abort(
    model: ModelArgument,
    reason: Annotated[str | None, typer.Option(help="Why, for the record.")] = None,
    store: StoreOption = None,
) -> None:
    """End the trial; production goes on as before."""
    from candor.terminal.console import stdout
    from model_store.canary import end_canary
    from model_store.store import Store

    ended = end_canary(Store(settings(store=store).store), model, "aborted", reason=reason)
    stdout.print(f"{model}: the canary, version {ended.version}, has ended")


def _report(model: str, version: int, ledger: str | None) -> "Report | None":
    """The version's report; None where the ledger is off or does not know it yet."""
    from monitoring.errors import ModelUnknown
    from monitoring.ledger.database import Ledger
    from monitoring.reports.report import calibration_report

    url = settings(ledger=ledger).ledger_url
    if url is None:
        return None
    with Ledger(url) as opened:
        try:
            return calibration_report(opened, model, version=version)
        except ModelUnknown:
            return None
