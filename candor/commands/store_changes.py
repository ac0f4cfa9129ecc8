"""What changes something in the model store, such as promoting and retiring a version."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from calibration.wording import parameter
from candor.commands.options import (
    DEFAULT_URL,
    FilePath,
    Place,
    Version,
    Within,
    WrongUse,
    open_ledger,
    open_store,
    read_token,
    require_model,
    said,
    settings,
    unused,
    web_address,
)
from candor.commands.verb import verb
from candor.terminal.console import note
from candor.terminal.verb_result import PlainResult, VerbResult

if TYPE_CHECKING:
    from candor.commands.rollout import Served
    from model_store.store.changes import Removal
    from model_store.store.state import Alias
    from model_store.store.store import Store

_LIMIT_S: Final = 30.0


@dataclass(repr=False, frozen=True)
class Promoted(VerbResult):
    """A version in production.

    Attributes:
        production: where the alias points now, since when, by whom and why.
        canary_ended: whether the version's canary ran until now; `labels`: of its answers, None if
            the ledger could not be asked.
        servers: what each server really serves, if that was waited for.
        notes: that the ledger could not be asked, if so.
    """

    model: str
    production: "Alias"
    canary_ended: bool
    labels: int | None
    servers: "tuple[Served, ...] | None" = None
    notes: Sequence[str] = ()

    @property
    def version(self) -> int:
        return self.production.version

    @property
    def failed(self) -> bool:
        return any(each.version != self.version for each in self.servers or ())

    def document(self) -> list[str]:
        canary = ". Its canary has ended" if self.canary_ended else ""
        if self.canary_ended and self.labels == 0:
            canary += " without a label, so labels never compared it with production"
        first = f"{self.model}: version {self.version} is in production{canary}"
        return [first, *self.notes, *map(str, self.servers or ())]

    def as_dict(self) -> dict[str, Any]:
        found = {"model": self.model} | self.production.model_dump(mode="json")
        found |= {"canary_ended": self.canary_ended, "notes": [*self.notes]}
        if self.servers is not None:
            found["servers"] = [dataclasses.asdict(each) for each in self.servers]
        return found


@verb
def promote(
    model: str,
    version: Version,
    *,
    why: str | None = None,
    wait: bool = False,
    url: Sequence[str] = (),
    limit: Annotated[float, Within(0, None)] = _LIMIT_S,
    token_file: FilePath | None = None,
    store: Place | None = None,
    ledger: str | None = None,
) -> Promoted:
    """Put a version into production. Running servers switch within a second and lose no request.

    If its canary is running, that ends, and a line says if the ledger has no label of the canary's
    answers.

    Example: candor promote chest 2 --wait

    Args:
        version: The version to serve from now on; an older one is a rollback.
        wait: Ask servers until each serves it, and say what each really serves; the exit code is 1
            if one does not.
        url: Address of a server to wait for; repeat it for others (default: http://127.0.0.1:8080).
        limit: Longest wait, in seconds.

    Returns:
        What is in production now, since when and by whom.

    Raises:
        Refused: there is no such version, it is damaged or retired, or the ledger knows it from
            another bundle.
    """
    from candor.commands.canary import labels_of
    from candor.commands.ledger_digest import require_ledger_agrees
    from candor.commands.rollout import wait_for
    from model_store.store.canary import promote_version

    if not wait:
        other = None if limit == _LIMIT_S else limit
        asking = f"servers are asked with {parameter('wait', True)}"
        unused(asking, url=url or None, limit=other, token_file=token_file)
    servers = [web_address(each) for each in ([url] if isinstance(url, str) else url)]
    opened = open_store(store)
    notes = require_ledger_agrees(opened.read(model, version), ledger)
    token = read_token(token_file)
    ended = promote_version(opened, model, version, why=said(why)) is not None
    served = (
        wait_for(servers or [DEFAULT_URL], model, version, token=token, limit_s=limit)
        if wait
        else None
    )
    return Promoted(
        model,
        _production(opened, model),
        canary_ended=ended,
        labels=labels_of(model, version, ledger) if ended else None,
        servers=None if served is None else tuple(served),
        notes=notes,
    )


def _production(store: "Store", model: str) -> "Alias":
    from model_store.errors import AliasError

    chosen = store.alias(model, "production")
    if chosen is None:
        raise AliasError(f"the alias 'production' of '{model}' was removed at the same time")
    return chosen


def rollback(
    model: str,
    *,
    alias: str = "production",
    why: str | None = None,
    store: Place | None = None,
    ledger: str | None = None,
) -> PlainResult:
    """Point production, or another alias, at the version at which it pointed before.

    A second rollback goes back one step further. The history says where to.

    Example: candor models rollback chest --why 'refers too much'

    Args:
        alias: The alias.
    """
    from candor.commands.ledger_digest import require_ledger_agrees
    from model_store.store.changes import roll_back, rollback_target

    opened = open_store(store)
    target = opened.read(model, rollback_target(opened, model, alias))
    notes = require_ledger_agrees(target, ledger)
    chosen = roll_back(opened, model, alias, why=said(why))
    return PlainResult(
        {"model": model, "alias": alias, "notes": notes} | chosen.model_dump(mode="json"),
        f"{model}: '{alias}' is back at version {chosen.version}, from {chosen.before}",
        *notes,
    )


def alias(
    model: str,
    name: str,
    version: Version | None = None,
    *,
    remove: bool = False,
    why: str | None = None,
    store: Place | None = None,
) -> PlainResult:
    """Point an alias at a version, show where it points, or remove it.

    Nothing is served because of an alias other than production. It keeps a version from gc, and
    other programs can look it up.

    Example: candor models alias chest staging 3 --why 'for the test site'

    Args:
        name: The alias: a name of your own, such as staging.
        version: The version (default: show where it points).
        remove: Remove the alias.
    """
    from model_store.errors import AliasError

    if remove and version is not None:
        raise WrongUse(f"give a VERSION or {parameter('remove', True)}, not both")
    if version is None and not remove:
        unused("nothing changes; give a VERSION", why=why)
    opened = open_store(store)
    if remove:
        chosen = opened.remove_alias(model, name, why=said(why))
        sentence = f"{model}: '{name}' is removed; it pointed at version {chosen.version}"
    elif version is not None:
        chosen = opened.set_alias(model, name, version, why=said(why))
        sentence = f"{model}: '{name}' points at version {version}"
    else:
        found = opened.alias(model, name)
        if found is None:
            raise AliasError(
                f"'{model}' has no alias '{name}'; it has "
                f"{', '.join(opened.aliases(model)) or 'none'}"
            )
        chosen = found
        because = f": {chosen.why}" if chosen.why else ""
        set_by = f"since {chosen.at:%Y-%m-%d %H:%M} by {chosen.by}{because}"
        sentence = f"{model}: '{name}' points at version {chosen.version}, {set_by}"
    data = {"model": model, "alias": name, "removed": remove} | chosen.model_dump(mode="json")
    return PlainResult(data, sentence)


def sign(
    model: str,
    version: Version,
    *,
    key: Path,
    password_file: Path | None = None,
    store: Place | None = None,
) -> PlainResult:
    """Sign every file of a version, as OpenSSF's model-signing does it. Needs the extra 'signing'.

    A server with --require-signature serves nothing else. What a recalibration publishes is signed
    the same way before it is promoted.

    Example: candor models sign chest 2 --key signing.pem

    Args:
        key: PEM file with the private key, on the curve P-256, P-384 or P-521.
        password_file: File with the password of the key.
    """
    from model_store.bundle.signature import sign as sign_bundle

    opened = open_store(store)
    bundle = opened.read(model, version, signed=False)
    password = None if password_file is None else password_file.read_text(encoding="utf-8").strip()
    opened.write_signature(model, version, sign_bundle(bundle, key=key, password=password))
    return PlainResult(
        {"model": model, "version": version, "digest": bundle.digest},
        f"{model}: version {version} is signed",
    )


def retire(
    model: str,
    version: Version,
    *,
    undo: bool = False,
    why: str | None = None,
    store: Place | None = None,
) -> PlainResult:
    """Take a version out: it stays in the store, but cannot be promoted or tried as canary.

    Refused while an alias or a running canary points at it.

    Example: candor models retire chest 2 --why 'trained on wrong labels'

    Args:
        undo: Bring it back.
    """
    from model_store.store import changes

    change = changes.restore if undo else changes.retire
    changed = change(open_store(store), model, version, why=said(why))
    state = "may be promoted" if undo else "is retired"
    return PlainResult(
        {"model": model, "version": version, "retired": not undo, "changed": changed},
        f"{model}: version {version} {state}{'' if changed else ', as it was before'}",
    )


def samples(
    model: str,
    images: Sequence[Path] = (),
    *,
    clear: bool = False,
    store: Place | None = None,
) -> PlainResult:
    """Sample images of a model, which its page offers. Without files, list them.

    Everyone who may open that page can see them: take images that may be shown.

    Example: candor models samples chest scan-1.png scan-2.dcm

    Args:
        images: Files that take the place of all samples.
        clear: Remove the samples.
    """
    from model_store.store.samples import Sample, read_samples, write_samples

    if images and clear:
        raise WrongUse(f"give files or {parameter('clear', True)}, not both")
    opened = open_store(store)
    require_model(opened, model)
    if images or clear:
        found = [Sample(file.name, file.read_bytes()) for file in images or ()]
        write_samples(opened.storage, model, found)
    names = [each.name for each in read_samples(opened.storage, model)]
    return PlainResult(
        {"model": model, "samples": names}, f"{model}: {', '.join(names) or 'no samples'}"
    )


def gc(
    model: str | None = None,
    *,
    keep: Annotated[int, Within(1, None)] = 3,
    days: Annotated[int, Within(0, None)] = 90,
    dry_run: bool = False,
    yes: bool = False,
    store: Place | None = None,
    ledger: str | None = None,
) -> PlainResult:
    """Remove versions that nothing refers to, after showing them.

    What an alias, its rollback, a running canary or a recent answer in the ledger refers to stays,
    and so do the newest versions. Nothing is removed by a clock that contradicts the ledger.
    Without a ledger to ask, say --ledger off.

    Example: candor models gc --dry-run

    Args:
        model: The model (default: every model).
        keep: Newest versions of each model that stay.
        days: What was made, or has answered, within so many days stays, unless retired.
        dry_run: Only say what would be removed.
        yes: Remove without asking.
    """
    from candor.terminal.console import confirm
    from model_store.store.changes import collect

    if dry_run and yes:
        raise WrongUse(f"give {parameter('dry_run', True)} or {parameter('yes', True)}, not both")
    opened = open_store(store)
    found = _removable(opened, model, keep=keep, days=days, ledger=ledger)
    lines = [f"{each.model} {each.version or each.name}: {each.reason}" for each in found]
    if found and not (dry_run or yes):
        for line in lines:
            note(line)
        confirm(f"Remove {'it' if len(found) == 1 else f'these {len(found)}'}?")
        lines = []
    for each in () if dry_run else found:
        collect(opened, each)
    if not found:
        note("there is nothing to remove")
    elif not dry_run:
        note(f"{len(found)} removed")
    return PlainResult(
        [dataclasses.asdict(each) | {"removed": not dry_run} for each in found], *lines
    )


def _removable(
    store: "Store", model: str | None, *, keep: int, days: int, ledger: str | None
) -> "list[Removal]":
    from model_store.store.changes import removable
    from monitoring.ledger.versions import versions_since
    from monitoring.maintenance.clock import last_use_ns

    if model is not None:
        require_model(store, model)
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
