"""`candor models` and `candor promote`: what the model store holds, and which version serves."""

import dataclasses
from typing import Annotated

import typer

from candor.commands.options import JsonOption, LedgerOption, StoreOption, open_store


def models(store: StoreOption = None, json_out: JsonOption = False) -> None:
    """List the models in the store, their versions, and how calibrated each was when it was published.

    Example: candor models --json
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


def promote(
    model: Annotated[str, typer.Argument(help="The model.")],
    version: Annotated[int, typer.Argument(help="The version to serve from now on; an older one is a rollback.")],
    store: StoreOption = None,
    ledger: LedgerOption = None,
) -> None:
    """Put a version into production. Running servers switch within a second and lose no request.

    If its canary is running, that ends. The last line says if the ledger has no
    label of the canary's answers.

    Example: candor promote chest 2
    """
    from candor.commands.canary import labels_of
    from candor.terminal.console import stdout
    from model_store.canary import promote_version

    ended = promote_version(open_store(store), model, version)
    canary = ". Its canary has ended" if ended else ""
    if ended and not labels_of(model, version, ledger):
        canary += " without a label, so labels never compared it with production"
    stdout.print(f"{model}: version {version} is in production{canary}", soft_wrap=True)
