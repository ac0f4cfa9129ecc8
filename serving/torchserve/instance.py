"""Starts, updates, describes and stops the TorchServe of a folder."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from model_store.bundle.bundle import Bundle
from model_store.errors import NotInStore
from model_store.operating_system import require_linux
from model_store.store.store import Store
from model_store.torchserve.outbox import waiting
from serving.errors import TorchServeError
from serving.settings import Settings
from serving.torchserve.configuration import (
    HOST,
    check_host,
    choose_ports,
    write_archives,
    write_configuration,
)
from serving.torchserve.java import find_java, find_torchserve
from serving.torchserve.launcher import (
    OUTBOX,
    clear,
    command_line,
    end,
    last_words,
    launch,
    wait_until_healthy,
)
from serving.torchserve.management import TorchServeManagement
from serving.torchserve.record import TorchServeRecord, locked, read_record, write_record

ARCHIVES: Final = "archives"
ALIVE_S: Final = 0.5  # between two looks at whether it still runs


@dataclass(frozen=True)
class TorchServeOptions:
    """How to start a TorchServe.

    `port` is the first of five; 0 takes free ones. `models`: those that are served; empty: all that
    are in production.
    `host`: the address of predictions and metrics; management and gRPC are on the loopback.
    """

    port: int
    workers: int
    batch_delay_ms: int
    tokens: bool = True
    models: tuple[str, ...] = ()
    host: str = HOST


@dataclass(frozen=True)
class ServedModel:
    """A model of a TorchServe: the version that answers, its ready workers, and the store's
    production version.
    """

    model: str
    version: int
    workers: int
    production: int | None


@dataclass(frozen=True)
class TorchServeStatus:
    """What runs in a folder. `stale`: there is a record, but its process has ended. `waiting`:
    undelivered answers.
    """

    running: bool
    stale: bool
    record: TorchServeRecord | None
    models: tuple[ServedModel, ...] = ()
    waiting: int = 0


@dataclass(frozen=True)
class TorchServeChange:
    """What an update did to a model; `before` is None for one that is new, `after` for one that was
    taken away.
    """

    model: str
    before: int | None
    after: int | None


def start(folder: Path, settings: Settings, options: TorchServeOptions) -> TorchServeRecord:
    """Start a TorchServe in `folder` with the production versions of the store, and wait until they
    answer.

    Raises LinuxRequired, TorchServeError, NotInStore or BundleError; nothing of it runs then.
    """
    require_linux("candor torchserve")
    check_host(options.host)
    java, torchserve = find_java(), find_torchserve()
    folder, opened = folder.resolve(), settings.opened_store
    bundles = production_bundles(opened, options.models)
    with locked(folder):
        if (known := read_record(folder)) is not None:
            if known.alive:
                raise TorchServeError(
                    f"TorchServe runs already (process {known.pid}, {known.url()}): `candor "
                    "torchserve update` takes "
                    "in what was promoted since, `candor torchserve stop` ends it"
                )
            clear(folder, known)
        ports = choose_ports(options.port, options.host)
        archives = folder / ARCHIVES
        shutil.rmtree(archives, ignore_errors=True)
        write_archives(
            archives, bundles, workers=options.workers, batch_delay_ms=options.batch_delay_ms
        )
        config = write_configuration(
            folder,
            torchserve=torchserve,
            host=options.host,
            ports=ports,
            tokens=options.tokens,
            archives=archives,
            max_body_bytes=settings.max_body_bytes,
        )
        record = launch(
            folder,
            settings,
            TorchServeRecord(
                ports=ports,
                store=opened.root.resolve(),
                store_address=opened.address,
                models=options.models,
                workers=options.workers,
                batch_delay_ms=options.batch_delay_ms,
                tokens=options.tokens,
                monitor_url=settings.monitor_url,
                host=options.host,
                starting=True,
            ),
            command_line(java, torchserve, config=config, archives=archives),
        )
        try:
            wait_until_healthy(folder, record)
            with TorchServeManagement(folder, record) as management:
                for bundle in bundles:
                    management.register(bundle)
            record = replace(record, starting=False)
            write_record(folder, record)
        except BaseException:
            end(folder, record)
            raise
    return record


def update(folder: Path) -> list[TorchServeChange]:
    """Register what was promoted since, and let it answer. The version before stays loaded, older
    ones are taken away.

    TorchServe kills the workers of a version that is taken away, with the requests that they have:
    so only a version that answered nothing since the update before is taken away. Raises
    TorchServeError, NotInStore or BundleError.
    """
    folder = folder.resolve()
    with locked(folder):
        record = running(folder)
        store = Store(record.store, record.store_address)
        changes = []
        with TorchServeManagement(folder, record) as management:
            before = management.default_versions()
            for bundle in production_bundles(store, record.models):
                name, version = bundle.card.name, bundle.card.version
                if before.get(name) == version:
                    continue
                if name not in before or version not in management.versions(name):
                    write_archives(
                        folder / ARCHIVES,
                        [bundle],
                        workers=record.workers,
                        batch_delay_ms=record.batch_delay_ms,
                    )
                    management.register(bundle)
                management.set_default(name, version)
                for old in set(management.versions(name)) - {version, before.get(name)}:
                    management.unregister(name, old)
                changes.append(TorchServeChange(name, before.get(name), version))
    return changes


def status(folder: Path) -> TorchServeStatus:
    """Describe what runs in a folder. Raises TorchServeError if it runs and does not answer."""
    folder = folder.resolve()
    record = read_record(folder)
    left = waiting(folder / OUTBOX)
    if record is None or not record.alive:
        return TorchServeStatus(
            running=False, stale=record is not None, record=record, waiting=left
        )
    store = Store(record.store, record.store_address)
    with TorchServeManagement(folder, record) as management:
        models = tuple(
            ServedModel(name, version, management.workers(name, version), store.production(name))
            for name, version in management.default_versions().items()
        )
    return TorchServeStatus(running=True, stale=False, record=record, models=models, waiting=left)


def stop(folder: Path) -> TorchServeRecord | None:
    """End the TorchServe of a folder, and its workers; returns its record, None if there was
    none.
    """
    folder = folder.resolve()
    if not folder.is_dir():
        return None
    with locked(folder):
        record = read_record(folder)
        if record is not None:
            end(folder, record)
    return record


def stay(folder: Path, record: TorchServeRecord) -> None:
    """Return when the TorchServe of a folder was ended by an interrupt (Ctrl-C), as it then is with
    its workers.

    Raises TorchServeError if it ends by itself, or somebody else ends it.
    """
    try:
        while record.alive:
            time.sleep(ALIVE_S)
    except KeyboardInterrupt:
        stop(folder)
        return
    raise TorchServeError(f"TorchServe (process {record.pid}) has ended. {last_words(folder)}")


def running(folder: Path) -> TorchServeRecord:
    """Return the record of a TorchServe that runs. Raises TorchServeError."""
    record = read_record(folder)
    if record is None or not record.alive:
        raise TorchServeError(
            f"no TorchServe of {folder} is running; start one with `candor torchserve start`"
        )
    return record


def production_bundles(store: Store, models: Sequence[str]) -> list[Bundle]:
    """Return the production versions of `models`, verified; of every model that has one, if none is
    named.

    Raises NotInStore or BundleError.
    """
    names = list(models) or [name for name in store.models() if store.production(name) is not None]
    if not names:
        raise NotInStore(
            f"the store {store.root} has no model in production: run `candor promote MODEL "
            "VERSION` first"
        )
    return [store.read(name) for name in names]
