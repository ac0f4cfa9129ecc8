"""`candor models` and `candor promote`: what the model store holds, whether it is whole, and which version serves."""

import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer

from candor.commands.options import JsonOption, LedgerOption, StoreOption, open_store, version_number

if TYPE_CHECKING:
    from model_store.store import Store
    from model_store.verification import Finding

app = typer.Typer(name="models", help="What the model store holds, whether it is whole, and which version serves.")

ModelArgument = Annotated[str, typer.Argument(help="The model.")]
AnyModelArgument = Annotated[str | None, typer.Argument(help="The model (default: every model).")]
AnyVersionArgument = Annotated[
    int | None, typer.Argument(help="Its version (default: every version).", parser=version_number)
]


@app.callback(invoke_without_command=True)
def models(context: typer.Context, store: StoreOption = None, json_out: JsonOption = False) -> None:
    """What the model store holds, whether it is whole, and which version serves.

    Without a verb it lists, as `candor models list` does.
    """
    if context.invoked_subcommand is None:
        list_versions(store, json_out)
    elif store is not None or json_out:
        raise typer.BadParameter(f"write options after the verb: candor models {context.invoked_subcommand} ...")


@app.command("list")
def list_versions(store: StoreOption = None, json_out: JsonOption = False) -> None:
    """List the models in the store, their versions, and how calibrated each was when it was published.

    Example: candor models list --json
    """
    from candor.terminal.catalog import catalog_table
    from candor.terminal.console import print_json, stdout
    from model_store.catalog import catalog

    opened = open_store(store)
    entries = catalog(opened)
    if json_out:
        print_json([dataclasses.asdict(entry) for entry in entries])
    elif entries:
        stdout.print(catalog_table(entries))
    else:
        stdout.print(f"The store {opened.root} is empty; `candor export` publishes into it.")


@app.command()
def verify(
    model: AnyModelArgument = None,
    version: AnyVersionArgument = None,
    adopt: Annotated[
        bool,
        typer.Option(
            "--adopt", help="Take over a version of before there were manifests, after showing what it holds."
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Adopt without asking.")] = False,
    store: StoreOption = None,
    ledger: LedgerOption = None,
    json_out: JsonOption = False,
) -> None:
    """Check every file of every version against its manifest, aliases, canary and ledger.

    What differs is named, and the exit code is 1. Serving, promoting, canaries
    and recalibration check the same before they use a version.

    Example: candor models verify chest 2
    """
    from candor.commands.ledger_digest import ledger_problem
    from candor.terminal.console import print_json
    from candor.terminal.verification import print_findings
    from model_store.verification import verify as verify_store

    opened = open_store(store)
    if adopt:
        _adopt(opened, model, version, yes=yes, ledger=ledger)
    findings = []
    for finding in verify_store(opened, model, version):
        problem = ledger_problem(finding.bundle, ledger) if finding.bundle else None
        findings.append(dataclasses.replace(finding, problem=problem) if problem else finding)
    if json_out:
        print_json([_plain(finding) for finding in findings])
    else:
        print_findings(findings)
    raise typer.Exit(1 if any(finding.problem for finding in findings) else 0)


def promote(
    model: ModelArgument,
    version: Annotated[
        int,
        typer.Argument(help="The version to serve from now on; an older one is a rollback.", parser=version_number),
    ],
    why: Annotated[str | None, typer.Option(help="Why; kept with the alias.")] = None,
    store: StoreOption = None,
    ledger: LedgerOption = None,
) -> None:
    """Put a version into production. Running servers switch within a second and lose no request.

    If its canary is running, that ends. The last line says if the ledger has no
    label of the canary's answers.

    Example: candor promote chest 2
    """
    from candor.commands.canary import labels_of
    from candor.commands.ledger_digest import require_ledger_agrees
    from candor.terminal.console import stdout
    from model_store.canary import promote_version

    opened = open_store(store)
    require_ledger_agrees(opened.read(model, version), ledger)
    ended = promote_version(opened, model, version, why=why)
    canary = ". Its canary has ended" if ended else ""
    if ended and not labels_of(model, version, ledger):
        canary += " without a label, so labels never compared it with production"
    stdout.print(f"{model}: version {version} is in production{canary}", soft_wrap=True)


def _adopt(store: "Store", model: str | None, version: int | None, *, yes: bool, ledger: str | None) -> None:
    """Show what a version without a manifest holds, ask, and adopt it."""
    from candor.commands.ledger_digest import require_ledger_agrees
    from candor.terminal.console import stderr
    from candor.terminal.verification import print_unsealed
    from model_store.adoption import adopt, unsealed

    if model is None or version is None:
        raise typer.BadParameter("--adopt takes over one version: give MODEL and VERSION")
    bundle = unsealed(store, model, version)
    require_ledger_agrees(bundle, ledger)
    print_unsealed(bundle)
    if not yes:
        typer.confirm("Is this what you published?", abort=True, err=True)
    moved = adopt(store, bundle)
    aliases = f", also in the alias {', '.join(moved)}" if moved else ""
    stderr.print(f"{model} {version} is adopted with digest {bundle.digest}{aliases}")


def _plain(finding: "Finding") -> dict[str, object]:
    return {
        "model": finding.model,
        finding.kind: finding.item,
        "digest": finding.digest,
        "problem": finding.problem,
    }
