"""`candor doctor`: the steps of a start, and those of the models, each printed. Nothing is made or
changed.
"""

import math
import os
import platform
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from sqlalchemy.exc import SQLAlchemyError

from calibration import DISTRIBUTION
from calibration.scope.verdict import least_p
from calibration.wording import call, counted
from hosting import steps
from hosting.errors import ListenError, ModelUnusable, SettingsError
from hosting.listener import listen
from hosting.settings import Settings, load_settings
from hosting.steps import Finding, Step, broken, doubt, skipped
from model_store.addresses import shown_address
from model_store.bundle.bundle import Bundle
from model_store.errors import ModelStoreError
from model_store.installation import release
from model_store.store.verification import verify
from monitoring.errors import LedgerError
from monitoring.ledger import versions
from monitoring.ledger.database import Ledger
from monitoring.ledger.dialects import read_url
from monitoring.ledger.predictions import used_ns
from monitoring.ledger.schema import SCHEMA_VERSION
from monitoring.maintenance.clock import moment
from serving.health import ask
from serving.inference.predictor import open_predictor

RUNTIMES: Final = ("onnxruntime", "onnxruntime-gpu")
AHEAD_NS: Final = 3_600 * 10**9  # by which a clock may be behind the ledger's last use
# no clock that is right is before it
PUBLISHED_NS: Final = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * 10**9
_GPU_PAGE: Final = "docs/how-to/gpu.md says how to install it in a fresh environment"
_PROVIDERS: Final = {"cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}


@dataclass(frozen=True)
class CheckResult:
    """One line of the examination: a finding of the step `check`."""

    check: str
    state: str
    found: str
    advice: str | None


def examine() -> Iterator[CheckResult]:
    """Look at the installation that the environment describes."""
    yield from _named(BEFORE_SETTINGS, Settings.model_construct())
    try:
        settings = load_settings()
    except SettingsError as error:
        advice = (
            "correct or unset it, and ask again, because nothing else was checked; "
            '`env -i PATH="$PATH" candor config show` lists every setting'
        )
        yield CheckResult("settings", "broken", str(error), advice)
        return
    for each in _named(STEPS, settings):
        yield each
        if each.check == "store" and each.state == "broken":
            return


def _named(those: Mapping[str, tuple[Step, str]], settings: Settings) -> Iterator[CheckResult]:
    for name, (step, advice) in those.items():
        for each in steps.examine(step, settings, advice):
            yield CheckResult(name, each.state, each.found, each.advice)


def python(_: Settings) -> Iterator[Finding]:
    yield Finding(f"Candor {release()} on Python {platform.python_version()}")


def packages(_: Settings) -> Iterator[Finding]:
    """Whether every package that serving needs is there, in a release that will do."""
    try:
        listed = map(Requirement, requires(DISTRIBUTION) or [])
    except PackageNotFoundError:
        yield skipped("Candor runs from its source, so nothing says what it needs")
        return
    needed = [each for each in listed if not each.marker or each.marker.evaluate({"extra": ""})]
    wrong = [problem for each in needed if (problem := _problem(each)) is not None]
    if wrong:
        advice = f"{sys.executable} -m pip install {' '.join(repr(need) for need, _ in wrong)}"
        yield broken("; ".join(found for _, found in wrong), advice)
    else:
        yield Finding(f"all {len(needed)} that serving needs are there")


def _problem(need: Requirement) -> tuple[str, str] | None:
    """A requirement that is not met, and what is there instead."""
    names = RUNTIMES if need.name == "onnxruntime" else (need.name,)
    for name in names:
        if (found := _version(name)) is not None:
            if need.specifier.contains(found, prereleases=True):
                return None
            return f"{name}{need.specifier}", f"{name} is {found}, Candor needs {need.specifier}"
    return f"{need.name}{need.specifier}", f"{need.name} is missing"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def runtime(settings: Settings) -> Iterator[Finding]:
    """Which providers ONNX Runtime has, and whether the device of the settings is among them."""
    if all(_version(name) for name in RUNTIMES):
        found = f"{' and '.join(RUNTIMES)} own the same files, and one overwrote the other"
        yield broken(found, _GPU_PAGE)
        return
    try:
        from model_store.runtime import ort
    except (ImportError, OSError) as error:
        advice = f"{sys.executable} -m pip install --force-reinstall onnxruntime"
        yield broken(f"it cannot be loaded ({error})", advice)
        return
    providers = [str(each) for each in ort.get_available_providers()]
    found = f"{ort.__version__} with {', '.join(providers)}; its telemetry is off"
    if _PROVIDERS.get(settings.device, providers[0]) in providers:
        yield Finding(found)
    else:
        missing = f"CANDOR_DEVICE is {settings.device}, but ONNX Runtime {found}"
        yield doubt(missing, f"it infers on the CPU; {_GPU_PAGE}")


def changed_settings(settings: Settings) -> Iterator[Finding]:
    changed = len(settings.model_fields_set)
    yield Finding(f"{changed} set by the environment; `candor config show` lists all")


def store(settings: Settings) -> Iterator[Finding]:
    """Whether the store can be read."""
    where, opened = shown_address(settings.store), settings.opened_store
    if opened.address is not None:
        rights = "; only a write shows whether it can be written"
    elif not opened.root.is_dir():
        made = (
            "`candor export` and `candor import` make it; CANDOR_STORE names another; a monitor "
            "alone needs none"
        )
        yield broken(f"there is no folder {where}", made)
        return
    else:
        writable = os.access(opened.root, os.W_OK)
        rights = (
            f" and can {'be written' if writable else 'only be read, which is enough to serve'}"
        )
    yield Finding(f"{where} has {counted(len(opened.models()), 'model')}{rights}")


def bundles(settings: Settings) -> Iterator[Finding]:
    """Whether every bundle is whole."""
    whole = 0
    for each in verify(settings.opened_store):
        if each.problem is None:
            whole += each.kind == "version"
            continue
        advice = (
            f"`candor models verify {each.model}` shows all of it; restore it from a copy, or "
            "publish it again"
        )
        yield broken(f"{each.model}: {each.kind} {each.item}: {each.problem}", advice)
    if whole:
        yield Finding(f"{counted(whole, 'version')} {'is' if whole == 1 else 'are'} whole")


def probes(settings: Settings) -> Iterator[Finding]:
    """Ask each model its probe images, on the device that a server takes."""
    for bundle in _in_production(settings):
        name = f"{bundle.card.name} version {bundle.card.version}"
        try:
            found = open_predictor(bundle, device=settings.device).difference
        except ModelUnusable as error:
            advice = "the sentence says what to do; docs/bundle.md explains probe images"
            unlike = broken if settings.on_difference == "refuse" else doubt
            yield unlike(str(error).removesuffix("."), advice)
        else:
            if found is None:
                yield skipped(f"{name} has none")
            else:
                yield Finding(f"{name} computes here as where it was published, to {found:.1g}")


def _in_production(settings: Settings) -> Iterator[Bundle]:
    store = settings.opened_store
    for name in store.models():
        with suppress(ModelStoreError, OSError):  # other steps name it
            yield store.read(name)


def production(settings: Settings) -> Iterator[Finding]:
    """Whether every model has a version that answers."""
    store = settings.opened_store
    models = store.models()
    if not models:
        advice = f"publish a model: `{call('export', 'RUN', name='NAME', promote=True)}`"
        yield doubt("the store is empty", advice)
    for name in models:
        with suppress(ModelStoreError):  # a history that cannot be read is among the bundles
            if store.production(name) is None:
                yield doubt(
                    f"{name} has no version in production", f"`candor promote {name} VERSION`"
                )


def scope(settings: Settings) -> Iterator[Finding]:
    """Scope checks whose least p-value is above the alpha that is set."""
    for card in (each.card for each in _in_production(settings)):
        if card.scope and settings.scope_alpha < (least := least_p(card.scope.flagged.n)):
            images = counted(card.scope.flagged.n, "calibration image")
            found = f"{card.name} has {images}: no image is doubtful at {settings.scope_alpha:g}"
            yield doubt(
                found, f"set CANDOR_SCOPE_ALPHA to {math.ceil(1e3 * least) / 1e3:g} or more"
            )


def ledger(settings: Settings) -> Iterator[Finding]:
    """Whether the ledger can be reached and written, and has this release's schema."""
    url = settings.ledger_url
    if url is None:
        yield skipped("CANDOR_LEDGER is off: answers are not recorded")
        return
    file = _file_of(url)
    if file is not None and not file.exists():
        folder = file.resolve().parent
        if os.access(folder, os.W_OK):
            yield Finding(f"{file} does not exist yet; the server will make it")
        else:
            found = f"{file} does not exist, and {folder} cannot be written"
            yield broken(found, "let this user write there, or set CANDOR_LEDGER")
    else:
        try:
            with Ledger(url, create=False) as opened, opened.read() as connection:
                models = counted(len(versions.models(connection)), "model")
        except SQLAlchemyError as error:  # whose text may hold a password
            raise LedgerError(f"it cannot be used ({type(error).__name__})") from None
        yield Finding(f"{opened.name} can be written, has schema {SCHEMA_VERSION} and {models}")


def clock(settings: Settings) -> Iterator[Finding]:
    """Whether the time is possible, and not before the ledger's last use."""
    now_ns, last_ns, url = time.time_ns(), None, settings.ledger_url
    file = None if url is None else _file_of(url)
    if url is not None and (file is None or file.exists()):
        with (
            suppress(LedgerError, SQLAlchemyError, OSError),  # the step before names it
            Ledger(url, create=False, writable=False) as opened,
            opened.read() as connection,
        ):
            now_ns, last_ns = opened.clock(), used_ns(connection)
    now = moment(now_ns)
    if now_ns < PUBLISHED_NS:
        yield broken(f"it says {now}, before this release", "set the clock of this machine")
    elif last_ns is not None and now_ns < last_ns - AHEAD_NS:
        found = f"it says {now}, and the ledger was last in use at {moment(last_ns)}"
        yield broken(found, "set the clock; docs/runbooks/CandorClockDoubtful.md")
    else:
        after = "" if last_ns is None else ", after the ledger's last use"
        yield Finding(f"it says {now}{after}")


def _file_of(url: str) -> Path | None:
    with suppress(LedgerError, ValueError, SQLAlchemyError):  # opening it says what is wrong
        dialect, parsed = read_url(url)
        return dialect.file(parsed)
    return None


def port(settings: Settings) -> Iterator[Finding]:
    """Whether a server could listen, or listens."""
    place = f"{settings.host}:{settings.port}"
    try:
        listen(settings.host, settings.port).close()
    except ListenError:
        if not ask(settings).alive:
            raise
        yield Finding(f"Candor answers at {place}")
    else:
        yield Finding(f"{place} is free")


BEFORE_SETTINGS: Final[Mapping[str, tuple[Step, str]]] = {
    "system": (steps.system, ""),
    "confinement": (steps.confinement, ""),
    "python": (python, ""),
    "packages": (packages, ""),
}
# By its name, each step, and what to do about an error of it. Those after the store's read it.
STEPS: Final[Mapping[str, tuple[Step, str]]] = {
    "settings": (changed_settings, ""),
    "onnx runtime": (runtime, ""),
    "access": (
        steps.access,
        "correct what it names; docs/how-to/secure.md has the format of tokens, and what a "
        "certificate needs",
    ),
    "permissions": (steps.files, ""),
    "port": (port, "end what listens there, or set CANDOR_PORT"),
    "ledger": (
        ledger,
        "start the database, or correct CANDOR_LEDGER (docs/how-to/postgresql.md, "
        "docs/how-to/ledger.md); docs/how-to/outages.md says what happens to answers meanwhile",
    ),
    "clock": (clock, ""),
    "store": (
        store,
        "correct CANDOR_STORE and CANDOR_REQUIRE_SIGNATURE, or give this user the right to read "
        "the store (docs/how-to/store.md)",
    ),
    "bundles": (bundles, ""),
    "production": (production, ""),
    "probe images": (probes, ""),
    "scope check": (scope, ""),
}
