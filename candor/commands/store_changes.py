"""The verbs of `candor models` that change something, such as promote and retire."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from candor.commands.options import (
    DEFAULT_URL,
    JsonOption,
    LedgerOption,
    ModelArgument,
    StoreOption,
    TokenOption,
    argument,
    open_ledger,
    open_store,
    option,
    read_token,
    settings,
    version_number,
    web_address,
)
from candor.commands.store import WhyOption, app
from candor.terminal.console import note, print_json, stdout

if TYPE_CHECKING:
    from model_store.lifecycle.changes import Removal
    from model_store.store.store import Store

VersionArgument = Annotated[int, argument("The version.", parser=version_number)]


def promote(
    model: ModelArgument,
    version: Annotated[
        int,
        argument(
            "The version to serve from now on; an older one is a rollback.", parser=version_number
        ),
    ],
    why: WhyOption = None,
    wait: Annotated[
        bool, option("Ask the servers of --url until each serves it, else exit with 1.", "--wait")
    ] = False,
    url: Annotated[list[str], option("Address of a server; repeat it for others.")] = [DEFAULT_URL],  # noqa: B006
    limit: Annotated[float, option("Longest wait, in seconds.", min=0)] = 30.0,
    token_file: TokenOption = None,
    store: StoreOption = None,
    ledger: LedgerOption = None,
    json_out: JsonOption = False,
) -> None:
    """Put a version into production. Running servers switch within a second and lose no request.

    If its canary is running, that ends, and a line says if the ledger has no label
    of the canary's answers. With --wait a line says what each server really serves.

    Example: candor promote chest 2 --wait
    """
    from candor.commands.canary import labels_of
    from candor.commands.ledger_digest import require_ledger_agrees
    from candor.commands.rollout import wait_for
    from model_store.lifecycle.canary import promote_version

    opened = open_store(store)
    require_ledger_agrees(opened.read(model, version), ledger)
    servers = [web_address(each) or each for each in url if wait]
    token = read_token(token_file)
    ended = promote_version(opened, model, version, why=why)
    canary = ". Its canary has ended" if ended else ""
    if ended and not labels_of(model, version, ledger):
        canary += " without a label, so labels never compared it with production"
    if not json_out:
        stdout.print(f"{model}: version {version} is in production{canary}")
    served = wait_for(servers, model, version, token=token, limit_s=limit)
    if json_out:
        print_json(
            {"model": model}
            | _production(opened, model)
            | {"canary_ended": ended is not None}
            | ({"servers": [dataclasses.asdict(each) for each in served]} if wait else {})
        )
    for each in () if json_out else served:
        stdout.print(str(each))
    if any(each.version != version for each in served):
        raise typer.Exit(1)


@app.command()
def rollback(
    model: ModelArgument,
    alias: Annotated[str, option("The alias.")] = "production",
    why: WhyOption = None,
    store: StoreOption = None,
    ledger: LedgerOption = None,
    json_out: JsonOption = False,
) -> None:
    """Point production, or another alias, at the version at which it pointed before.

    A second rollback goes back one step further. The history says where to.

    Example: candor models rollback chest --why 'refers too much'
    """
    from candor.commands.ledger_digest import require_ledger_agrees
    from model_store.lifecycle.changes import roll_back, rollback_target

    opened = open_store(store)
    require_ledger_agrees(opened.read(model, rollback_target(opened, model, alias)), ledger)
    chosen = roll_back(opened, model, alias, why=why)
    if json_out:
        print_json({"model": model, "alias": alias} | chosen.model_dump(mode="json"))
    else:
        stdout.print(
            f"{model}: '{alias}' is back at version {chosen.version}, from {chosen.before}"
        )


@app.command()
def alias(
    model: ModelArgument,
    name: Annotated[str, argument("The alias: a name of your own, such as staging.")],
    version: Annotated[
        int | None, argument("The version (default: show where it points).", parser=version_number)
    ] = None,
    remove: Annotated[bool, option("Remove the alias.", "--remove")] = False,
    why: WhyOption = None,
    store: StoreOption = None,
    json_out: JsonOption = False,
) -> None:
    """Point an alias at a version, show where it points, or remove it.

    Nothing is served because of an alias other than production. It keeps a
    version from gc, and other programs can look it up.

    Example: candor models alias chest staging 3 --why 'for the test site'
    """
    from model_store.errors import AliasError

    if remove and version is not None:
        raise typer.BadParameter("give a VERSION or --remove, not both")
    opened = open_store(store)
    if remove:
        chosen = opened.remove_alias(model, name, why=why)
        said = f"{model}: '{name}' is removed; it pointed at version {chosen.version}"
    elif version is not None:
        chosen = opened.set_alias(model, name, version, why=why)
        said = f"{model}: '{name}' points at version {version}"
    else:
        found = opened.alias(model, name)
        if found is None:
            raise AliasError(
                f"'{model}' has no alias '{name}'; it has "
                f"{', '.join(opened.alias_names(model)) or 'none'}"
            )
        chosen = found
        because = f": {chosen.why}" if chosen.why else ""
        set_by = f"since {chosen.at:%Y-%m-%d %H:%M} by {chosen.by}{because}"
        said = f"{model}: '{name}' points at version {chosen.version}, {set_by}"
    if json_out:
        print_json(
            {"model": model, "alias": name, "removed": remove} | chosen.model_dump(mode="json")
        )
    else:
        stdout.print(said)


@app.command()
def sign(
    model: ModelArgument,
    version: VersionArgument,
    key: Annotated[
        Path, option("PEM file with the private key, on the curve P-256, P-384 or P-521.")
    ],
    password_file: Annotated[Path | None, option("File with the password of the key.")] = None,
    store: StoreOption = None,
    json_out: JsonOption = False,
) -> None:
    """Sign every file of a version, as OpenSSF's model-signing does it. Needs the extra 'signing'.

    A server with --require-signature serves nothing else. What a recalibration
    publishes is signed the same way before it is promoted.

    Example: candor models sign chest 2 --key signing.pem
    """
    from model_store.bundle.signature import sign as sign_bundle

    opened = open_store(store)
    bundle = opened.read(model, version, signed=False)
    password = None if password_file is None else password_file.read_text(encoding="utf-8").strip()
    opened.write_signature(model, version, sign_bundle(bundle, key=key, password=password))
    if json_out:
        print_json({"model": model, "version": version, "digest": bundle.digest})
    else:
        stdout.print(f"{model}: version {version} is signed")


@app.command()
def retire(
    model: ModelArgument,
    version: VersionArgument,
    undo: Annotated[bool, option("Bring it back.", "--undo")] = False,
    why: WhyOption = None,
    store: StoreOption = None,
    json_out: JsonOption = False,
) -> None:
    """Take a version out: it stays in the store, but cannot be promoted or tried as canary.

    Refused while an alias or a running canary points at it.

    Example: candor models retire chest 2 --why 'trained on wrong labels'
    """
    from model_store.lifecycle import changes

    opened = open_store(store)
    changed = (changes.restore if undo else changes.retire)(opened, model, version, why=why)
    if json_out:
        print_json({"model": model, "version": version, "retired": not undo, "changed": changed})
        return
    state = "may be promoted" if undo else "is retired"
    stdout.print(f"{model}: version {version} {state}{'' if changed else ', as it was before'}")


@app.command()
def samples(
    model: ModelArgument,
    images: Annotated[
        list[Path] | None,
        argument("Files that take the place of all samples.", exists=True, dir_okay=False),
    ] = None,
    clear: Annotated[bool, option("Remove the samples.", "--clear")] = False,
    store: StoreOption = None,
    json_out: JsonOption = False,
) -> None:
    """Sample images of a model, which its page offers. Without files, list them.

    Everyone who may open that page can see them: take images that may be shown.

    Example: candor models samples chest scan-1.png scan-2.dcm
    """
    from model_store.errors import NotInStore
    from model_store.store.samples import Sample, read_samples, write_samples

    if images and clear:
        raise typer.BadParameter("give files or --clear, not both.")
    opened = open_store(store)
    if model not in opened.models():
        raise NotInStore(f"there is no model '{model}' in {opened.storage.address}")
    if images or clear:
        found = [Sample(file.name, file.read_bytes()) for file in images or ()]
        write_samples(opened.storage, model, found)
    names = [each.name for each in read_samples(opened.storage, model)]
    if json_out:
        print_json({"model": model, "samples": names})
    else:
        stdout.print(f"{model}: {', '.join(names) or 'no samples'}")


@app.command()
def gc(
    model: Annotated[str | None, argument("The model (default: every model).")] = None,
    keep: Annotated[int, option("Newest versions of each model that stay.", min=1)] = 3,
    days: Annotated[
        int,
        option("What was made, or has answered, within so many days stays, unless retired.", min=0),
    ] = 90,
    dry_run: Annotated[bool, option("Only say what would be removed.", "--dry-run")] = False,
    yes: Annotated[bool, option("Remove without asking.", "--yes")] = False,
    store: StoreOption = None,
    ledger: LedgerOption = None,
    json_out: JsonOption = False,
) -> None:
    """Remove versions that nothing refers to, after showing them.

    What an alias, its rollback, a running canary or a recent answer in the
    ledger refers to stays, and so do the newest versions. Nothing is removed by
    a clock that contradicts the ledger. Without a ledger to ask, say --ledger off.

    Example: candor models gc --dry-run
    """
    from model_store.lifecycle.changes import collect

    opened = open_store(store)
    found = _removable(opened, model, keep=keep, days=days, ledger=ledger)
    for each in () if json_out else found:
        stdout.print(f"{each.model} {each.version or each.name}: {each.reason}")
    if found and not (dry_run or yes):
        typer.confirm(
            f"Remove {'it' if len(found) == 1 else f'these {len(found)}'}?", abort=True, err=True
        )
    for each in () if dry_run else found:
        collect(opened, each)
    if json_out:
        print_json([dataclasses.asdict(each) | {"removed": not dry_run} for each in found])
    elif not found:
        note("there is nothing to remove")
    elif not dry_run:
        note(f"{len(found)} removed")


def _removable(
    store: "Store", model: str | None, *, keep: int, days: int, ledger: str | None
) -> "list[Removal]":
    from model_store.lifecycle.changes import removable
    from monitoring.ledger.versions import versions_since
    from monitoring.maintenance.clock import last_use_ns

    names = [model] if model is not None else store.models()
    answering: dict[str, set[int]] = {name: set() for name in names}
    if settings(ledger=ledger).ledger_url is not None:
        with open_ledger(ledger, reading=True) as opened:
            now_ns = opened.clock()
            last_use_ns(opened, now_ns)
            since_ns = now_ns - days * 86_400_000_000_000
            with opened.read() as connection:
                answering = {name: versions_since(connection, name, since_ns) for name in names}
    return [
        each
        for name in names
        for each in removable(
            store, name, answering=answering[name], keep=keep, older_than_days=days
        )
    ]


def _production(store: "Store", model: str) -> dict[str, object]:
    chosen = store.alias(model, "production")
    return {} if chosen is None else chosen.model_dump(mode="json")
