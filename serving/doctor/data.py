"""The model store and the ledger. Nothing is made or changed."""

import math
import os
import shlex
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from calibration.scope.verdict import least_p
from calibration.wording import call, counted
from hosting.errors import ModelUnusable
from hosting.settings import Settings
from model_store.addresses import shown_address
from model_store.bundle.bundle import Bundle
from model_store.errors import ModelStoreError, SignatureKeyInvalid, StoreAddressInvalid
from model_store.store.store import Store
from model_store.store.verification import Finding, verify
from monitoring.errors import LedgerDriverMissing, LedgerError, MonitoringError
from monitoring.ledger import versions
from monitoring.ledger.database import Ledger
from monitoring.ledger.predictions import used_ns
from monitoring.ledger.schema import SCHEMA_VERSION
from monitoring.maintenance.clock import moment
from serving.doctor.check_result import CheckResult, State
from serving.inference.predictor import open_predictor

_STORE = partial(CheckResult, "store")
_PRODUCTION = partial(CheckResult, "production")
_BUNDLES = partial(CheckResult, "bundles")
_LEDGER = partial(CheckResult, "ledger")
_CLOCK = partial(CheckResult, "clock")

_DATABASE = (
    "start the database, or correct CANDOR_LEDGER (docs/how-to/postgresql.md); "
    "docs/how-to/outages.md says what happens to answers meanwhile"
)
_FILE = "docs/how-to/ledger.md says how to restore and check a ledger; CANDOR_LEDGER names another"
AHEAD_NS = 3_600 * 10**9  # by which a clock may be behind the ledger's last use
PUBLISHED_NS = (
    int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * 10**9
)  # no clock that is right is before it


def check_store(settings: Settings) -> Iterator[CheckResult]:
    """Whether store and bundles are whole, and every model has a version in production."""
    where = shown_address(settings.store)
    try:
        store = settings.opened_store
    except SignatureKeyInvalid as error:
        advice = (
            error.install
            or "set CANDOR_REQUIRE_SIGNATURE to the public key of the owner, a PEM file"
        )
        yield _STORE("broken", str(error), advice)
        return
    if store.address is None and not store.root.is_dir():
        made = (
            "`candor export` and `candor import` make it; CANDOR_STORE names another; a monitor "
            "alone needs none"
        )
        yield _STORE("broken", f"there is no folder {where}", made)
        return
    try:
        models = store.models()
        findings = list(verify(store))
    except StoreAddressInvalid as error:
        yield _STORE(
            "broken", str(error), error.install or "correct CANDOR_STORE (docs/how-to/store.md)"
        )
        return
    except (ModelStoreError, OSError) as error:
        yield _STORE(
            "broken",
            f"{where} cannot be read ({error})",
            "give this user the right to read it",
        )
        return
    yield _STORE("ok", f"{where} has {counted(len(models), 'model')}{_writing(store)}")
    yield from _bundles(findings)
    served = list(_in_production(store, findings))
    yield from check_probes(settings, served)
    yield from _scope(settings, served)
    if not models:
        advice = f"publish a model: `{call('export', 'RUN', name='NAME', promote=True)}`"
        yield _PRODUCTION("warning", "the store is empty", advice)
    for name in models:
        with suppress(ModelStoreError):  # an alias that cannot be read is among the findings
            if store.production(name) is None:
                found = f"{name} has no version in production"
                yield _PRODUCTION("warning", found, f"`candor promote {name} VERSION`")


_PROBES = partial(CheckResult, "probe images")


def check_probes(settings: Settings, bundles: Iterable[Bundle]) -> Iterator[CheckResult]:
    """Ask each model its probe images, on the device that a server takes."""
    for bundle in bundles:
        name = f"{bundle.card.name} version {bundle.card.version}"
        try:
            found = open_predictor(bundle, device=settings.device).difference
        except ModelUnusable as error:
            advice = "the sentence says what to do; docs/bundle.md explains probe images"
            state: State = "broken" if settings.on_difference == "refuse" else "warning"
            yield _PROBES(state, str(error).removesuffix("."), advice)
            continue
        if found is None:
            yield _PROBES("skipped", f"{name} has none")
        else:
            yield _PROBES("ok", f"{name} computes here as where it was published, to {found:.1g}")


def _in_production(store: Store, findings: Sequence[Finding]) -> Iterator[Bundle]:
    for each in findings:
        with suppress(ModelStoreError):  # an alias that cannot be read is among the findings
            if each.bundle and not each.problem and str(store.production(each.model)) == each.item:
                yield each.bundle


def _scope(settings: Settings, bundles: Iterable[Bundle]) -> Iterator[CheckResult]:
    """Warn of scope checks whose least p-value is above the alpha that is set."""
    for card in (each.card for each in bundles):
        if card.scope and settings.scope_alpha < (least := least_p(card.scope.flagged.n)):
            images = counted(card.scope.flagged.n, "calibration image")
            found = f"{card.name} has {images}: no image is doubtful at {settings.scope_alpha:g}"
            advice = f"set CANDOR_SCOPE_ALPHA to {math.ceil(1e3 * least) / 1e3:g} or more"
            yield CheckResult("scope check", "warning", found, advice)


def _writing(store: Store) -> str:
    """Whether this user may write to the folder; of an address only a write would show it."""
    if store.address is not None:
        return "; only a write shows whether it can be written"
    if os.access(store.root, os.W_OK):
        return " and can be written"
    return " and can only be read, which is enough to serve"


def _bundles(findings: Sequence[Finding]) -> Iterator[CheckResult]:
    for each in findings:
        if each.problem is not None:
            advice = (
                f"`candor models verify {each.model}` shows all of it; restore it from a copy, or "
                "publish it again"
            )
            yield _BUNDLES(
                "broken", f"{each.model}: {each.kind} {each.item}: {each.problem}", advice
            )
    whole = sum(each.kind == "version" and each.problem is None for each in findings)
    if whole:
        yield _BUNDLES("ok", f"{counted(whole, 'version')} {'is' if whole == 1 else 'are'} whole")


def check_ledger(settings: Settings) -> Iterator[CheckResult]:
    """Whether the ledger can be reached and written, and has this release's schema."""
    url = settings.ledger_url
    if url is None:
        yield _LEDGER("skipped", "CANDOR_LEDGER is off: answers are not recorded")
        yield check_clock(time.time_ns(), None)
        return
    file = _file_of(url)
    if file is not None and not file.exists():
        yield _new_file(file)
        yield check_clock(time.time_ns(), None)
        return
    try:
        with Ledger(url, create=False, writable=False) as ledger:
            with ledger.read() as connection:
                models, last_ns = versions.models(connection), used_ns(connection)
            now_ns = ledger.clock()
        with Ledger(url, create=False) as ledger:
            pass
    except LedgerDriverMissing as error:
        yield _LEDGER("broken", str(error), error.install)
        return
    except LedgerError as error:
        yield _LEDGER("broken", str(error), _ledger_advice(url))
        return
    except (MonitoringError, SQLAlchemyError, OSError) as error:
        found = f"it cannot be used ({type(error).__name__})"
        yield _LEDGER("broken", found, _ledger_advice(url))
        return
    what = (
        f"{ledger.name} can be written, has schema {SCHEMA_VERSION} and "
        f"{counted(len(models), 'model')}"
    )
    yield _LEDGER("ok", what)
    yield check_clock(now_ns, last_ns)


def check_clock(now_ns: int, last_ns: int | None) -> CheckResult:
    """Whether the time, in ns since 1970, is possible and not before the ledger's last use."""
    now = moment(now_ns)
    if now_ns < PUBLISHED_NS:
        return _CLOCK(
            "broken", f"it says {now}, before this release", "set the clock of this machine"
        )
    if last_ns is not None and now_ns < last_ns - AHEAD_NS:
        found = f"it says {now}, and the ledger was last in use at {moment(last_ns)}"
        return _CLOCK("broken", found, "set the clock; docs/runbooks/CandorClockDoubtful.md")
    return _CLOCK(
        "ok", f"it says {now}" + ("" if last_ns is None else ", after the ledger's last use")
    )


def _file_of(url: str) -> Path | None:
    from monitoring.ledger.dialects import read_url

    try:
        dialect, parsed = read_url(url)
        return dialect.file(parsed)
    except (LedgerError, ValueError, SQLAlchemyError):
        return None  # opening it says what is wrong


def _ledger_advice(url: str) -> str:
    """What to do about a ledger that cannot be used, by where it is."""
    if not url.startswith("sqlite"):
        return _DATABASE
    folder = Path(url.partition("///")[2].partition("?")[0]).parent
    if folder.is_dir():
        return _FILE
    return (
        f"`mkdir -p {shlex.quote(str(folder))}`, or set CANDOR_LEDGER to a file in a folder that "
        "is there"
    )


def _new_file(file: Path) -> CheckResult:
    folder = file.resolve().parent
    if not os.access(folder, os.W_OK):
        found = f"{file} does not exist, and {folder} cannot be written"
        return _LEDGER("broken", found, "let this user write there, or set CANDOR_LEDGER")
    return _LEDGER("ok", f"{file} does not exist yet; the server will make it")
