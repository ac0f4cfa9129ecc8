"""`candor models`: what the model store holds, whether it is whole, and what was done with it."""

import dataclasses
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from candor.commands.options import (
    Place,
    Version,
    WrongUse,
    open_store,
    require_model,
    version_number,
)
from candor.terminal.console import note
from candor.terminal.verb_result import PlainResult

if TYPE_CHECKING:
    from model_store.bundle.bundle import Bundle
    from model_store.store.catalog import CatalogEntry
    from model_store.store.state import Canary
    from model_store.store.store import Store
    from model_store.store.verification import Finding

HELP: Final = """What the model store holds, and which version serves.

A version is published once and never changes. An alias, such as 'production', points at one version
and can be moved: promote and rollback move 'production', alias moves any. The history says who
moved what, when and why. Retire takes a bad version out, gc removes what nothing refers to any
more. Sign and verify say whose it is, and whether it is whole.

Without a verb it lists, as `candor models list` does.
"""


def list_versions(*, store: Place | None = None) -> PlainResult:
    """List the models, their versions, and how calibrated each was when it was published.

    Example: candor models list --json
    """
    from candor.terminal.store import catalog_table
    from model_store.store.catalog import catalog

    opened = open_store(store)
    entries = catalog(opened)
    canaries = {name: _canary(opened, name) for name in {entry.name for entry in entries}}
    empty = f"The store {opened.storage.address} is empty; `candor export` publishes into it."
    return PlainResult(
        [_listed(entry, canaries[entry.name]) for entry in entries],
        catalog_table(entries, canaries) if entries else empty,
    )


def _canary(store: "Store", name: str) -> "Canary | None":
    """The canary of a model that runs; one that cannot be read is for `candor models verify`."""
    from model_store.errors import ModelStoreError
    from model_store.store.canary import running_canary

    with suppress(ModelStoreError):
        return running_canary(store, name)
    return None


def _listed(entry: "CatalogEntry", canary: "Canary | None") -> dict[str, Any]:
    is_canary = canary is not None and canary.version == entry.version
    tried = canary.model_dump(mode="json", include={"mode", "share"}) if canary else None
    return dataclasses.asdict(entry) | {"canary": tried if is_canary else None}


def show(
    model: str, which: Annotated[str | None, "VERSION"] = None, *, store: Place | None = None
) -> PlainResult:
    """Show what a version is, its origin, how calibrated it was, and what was done with it.

    Example: candor models show chest 2

    Args:
        model: The model. MODEL/VERSION in one word works as well.
        which: A version, such as 2, or an alias (default: the one in production).
    """
    from candor.terminal.store import bundle_parts
    from model_store.bundle.manifest import describe

    opened = open_store(store)
    bundle = find_bundle(opened, model if which is None else f"{model}/{which}")
    card = bundle.card
    state = opened.state(card.name)
    aliases = {name: each for name, each in state.aliases.items() if each.version == card.version}
    events = [event for event in state.events if event.version == card.version]
    files = describe(bundle.folder)
    return PlainResult(
        {
            "card": card.model_dump(mode="json"),
            "digest": bundle.digest,
            "files": {name: entry.model_dump() for name, entry in files.items()},
            "aliases": {alias: each.model_dump(mode="json") for alias, each in aliases.items()},
            "history": [event.model_dump(mode="json", exclude_none=True) for event in events],
        },
        *bundle_parts(bundle, files=files, aliases=aliases, events=events),
    )


def diff(
    words: Annotated[Sequence[str], "MODEL A B"], *, store: Place | None = None
) -> PlainResult:
    """Show in what two versions differ: fields of the cards, and files.

    Accuracy, gap and ECE of cards that were measured on the same images are compared, with 95 %
    intervals. No figure stands beside another without one: `candor models show` prints each card.

    Example: candor models diff chest 1 production

    Args:
        words: The model, and twice a version, such as 2, or an alias. Of two models: MODEL/VERSION
            MODEL/VERSION.
    """
    from candor.terminal.store import difference_table
    from model_store.bundle.comparison import compare_cards, difference
    from monitoring.diagnosis.live_comparison import card_comparison_words

    if len(words) not in (2, 3) or (len(words) == 3 and "/" in "".join(words)):
        raise WrongUse(
            f"got {' '.join(words)!r}; write it as chest 1 2, or of two models as chest/1 lung/1"
        )
    first, second = words if len(words) == 2 else (f"{words[0]}/{each}" for each in words[1:])
    opened = open_store(store)
    bundles = [find_bundle(opened, each) for each in (first, second)]
    compared = compare_cards(*(each.card for each in bundles))
    found = difference(*bundles)
    cards = None if compared is None else dataclasses.asdict(compared)
    data = {"cards": cards, "differences": [each._asdict() for each in found]}
    if not found:
        return PlainResult(data, f"{first} and {second} are the same in every byte.")
    return PlainResult(
        data, difference_table(first, second, found), card_comparison_words(compared)
    )


def verify(
    model: str | None = None,
    version: Version | None = None,
    *,
    key: Path | None = None,
    store: Place | None = None,
    ledger: str | None = None,
) -> PlainResult:
    """Check every file of every version against its manifest, aliases, canary, history and ledger,
    and whether its networks compute on this machine's processor as where they were published.

    What differs is named, and the exit code is 1. Serving, promoting, canaries and recalibration
    check the same before they use a version.

    Example: candor models verify chest 2

    Args:
        model: The model (default: every model).
        version: Its version (default: every version).
        key: Also require a signature by the owner of this public key, a PEM file.
    """
    from candor.commands.ledger_digest import ledger_problem
    from candor.terminal.store import finding_line
    from model_store.bundle.probing import problem_here
    from model_store.bundle.signature import read_public_key
    from model_store.store.verification import verify as verify_store

    opened = open_store(store)
    if key is not None:
        opened = dataclasses.replace(opened, key=read_public_key(key))
    findings = []
    for finding in verify_store(opened, model, version):
        problem = (
            ledger_problem(finding.bundle, ledger) or problem_here(finding.bundle)
            if finding.bundle and not finding.problem
            else None
        )
        findings.append(dataclasses.replace(finding, problem=problem) if problem else finding)
    refused = sum(finding.problem is not None for finding in findings)
    note(f"{len(findings)} looked at, {refused} refused")
    data = [_plain(finding) for finding in findings]
    return PlainResult(data, *map(finding_line, findings), failed=refused > 0)


def history(model: str, *, alias: str | None = None, store: Place | None = None) -> PlainResult:
    """Show what was done with a model's versions and aliases: when, by whom, and why.

    Example: candor models history chest --alias production

    Args:
        alias: Only what was done with this alias.
    """
    from candor.terminal.store import history_table

    opened = open_store(store)
    require_model(opened, model)
    events = [event for event in opened.state(model).events if alias in (None, event.alias)]
    nothing = f"{model} has no history in {opened.storage.address}."
    return PlainResult(
        [event.model_dump(mode="json", exclude_none=True) for event in events],
        history_table(events) if events else nothing,
    )


def find_bundle(store: "Store", which: str) -> "Bundle":
    """Return the bundle of MODEL, MODEL/VERSION or MODEL/ALIAS. Raises NotInStore, BundleError."""
    from model_store.errors import NotInStore

    name, slash, part = which.partition("/")
    if not slash:
        return store.read(name)
    if part.startswith(tuple("+-.0123456789")):
        return store.read(name, version_number(part))
    chosen = store.alias(name, part)
    if chosen is None:
        known = ", ".join(store.aliases(name)) or "none"
        raise NotInStore(f"'{name}' has no alias '{part}'; its aliases: {known}")
    return store.read(name, chosen.version)


def _plain(finding: "Finding") -> dict[str, object]:
    return {
        "model": finding.model,
        finding.kind: finding.item,
        "digest": finding.digest,
        "problem": finding.problem,
    }
