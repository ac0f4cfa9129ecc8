"""A program that mistreats a store with real processes, and prints as JSON what it found: `python
-m ... ROOT MODE [ADDRESS]`.

`storm`: writers publish, promote, roll back, try canaries and retire, and are killed at random,
    while others read.
`crash`: a writer dies before its first, second, third, ... operation on the file system, or
    request to the address.
`error`: the same operation fails as on a full disk instead.
`small`: no file may grow beyond a limit, for many limits.
"""

import errno
import json
import os
import random
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from model_store.bundle.bundle import write_bundle
from model_store.errors import ModelStoreError
from model_store.store import changes
from model_store.store.canary import end_canary, start_canary
from model_store.store.remote_files import RemoteFiles
from model_store.store.store import Store
from model_store.store.verification import verify
from tests.builders.bundles import build_card, build_onnx

WRITERS, READERS, KILLS = 8, 2, 60
DIED, SURVIVED = 9, 3
STEP = 6  # requests, of which about 250 are made
ONNX = build_onnx()
# What asks the operating system for a change or for room. Each is preceded by an audit event.
OPERATIONS = (
    "open",
    "os.rename",
    "os.mkdir",
    "os.remove",
    "os.chmod",
    "os.rmdir",
    "tempfile.mkstemp",
    "tempfile.mkdtemp",
    "fcntl.flock",
    "shutil.rmtree",
)


def publish(store: Store) -> int:
    return store.publish(
        "tiny",
        lambda folder, version: write_bundle(folder, card=build_card(version=version), onnx=ONNX),
    )


def publish_and_promote(store: Store) -> None:
    store.promote("tiny", publish(store), why="x" * 500)


def everything(store: Store) -> None:
    """Publish, promote, try a canary and promote it, retire what was before and remove it."""
    before = publish(store)
    store.promote("tiny", before)
    start_canary(store, "tiny", publish(store), mode="shadow")
    end_canary(store, "tiny", "promoted")
    store.set_alias("tiny", "staging", publish(store))
    changes.roll_back(store, "tiny")
    store.promote("tiny", publish(store))
    store.promote("tiny", publish(store))
    changes.retire(store, "tiny", before)
    for each in changes.removable(store, "tiny", answering=(), keep=2, older_than_days=0):
        changes.collect(store, each)


def in_child(work: Callable[[], None]) -> int:
    """Start a process that does this and ends; return its id."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        except (ModelStoreError, OSError):
            status = 2
        finally:
            os._exit(status)
    return child


def ended(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def problems(store: Store) -> list[str]:
    """What is not whole: a version, an alias, the canary, the order of events."""
    found = [f"{each.kind} {each.item}: {each.problem}" for each in verify(store) if each.problem]
    state, versions = store.state("tiny"), set(store.versions("tiny"))
    published = {event.version for event in state.events if event.action == "published"}
    found += [f"no version {each}" for each in published - versions - state.retired.keys()]
    used = {alias.version for alias in state.aliases.values()}
    used |= {state.running.version} if state.running else set()
    found += [f"version {each} is used though retired" for each in used & state.retired.keys()]
    found += [f"nothing is version {each}" for each in {state.production, *used} - versions]
    at: dict[str, int | None] = {}
    for event in state.events:
        if event.alias is not None:
            if event.before != at.get(event.alias):
                found.append(f"{event} did not see the one before it")
            at[event.alias] = event.version
    return found


def write_on(store: Store, seed: int) -> None:
    """Publish, promote, roll back, retire and restore, until killed."""
    rng = random.Random(seed)
    acts: list[Callable[[], Any]] = [
        partial(publish, store),
        lambda: store.promote("tiny", rng.choice(store.versions("tiny"))),
        lambda: store.set_alias("tiny", "staging", rng.choice(store.versions("tiny"))),
        lambda: changes.roll_back(store, "tiny"),
        lambda: changes.retire(store, "tiny", rng.choice(store.versions("tiny"))),
        lambda: changes.restore(store, "tiny", rng.choice(store.versions("tiny"))),
        lambda: start_canary(store, "tiny", rng.choice(store.versions("tiny")), mode="shadow"),
        lambda: end_canary(store, "tiny", rng.choice(("promoted", "aborted"))),
    ]
    while True:
        with suppress(ModelStoreError):  # retired, in use, nothing to go back to
            rng.choice(acts)()


def read_on(store: Store) -> None:
    """Read what is in production, until killed. Whatever goes wrong ends this process with 1."""
    while True:
        try:
            store.read("tiny")
            store.state("tiny")
        except BaseException as error:
            seen(store).write_text(repr(error))
            raise SystemExit from error


def storm(store: Store) -> dict[str, Any]:
    rng = random.Random(0)
    writers = [in_child(partial(write_on, again(store), seed)) for seed in range(WRITERS)]
    readers = [in_child(partial(read_on, again(store))) for _ in range(READERS)]
    for seed in range(KILLS):
        time.sleep(rng.uniform(0, 0.15 if store.address is None else 0.5))
        place = rng.randrange(WRITERS)
        os.kill(writers[place], signal.SIGKILL)
        found = ended(writers[place])
        if found != -signal.SIGKILL:
            raise RuntimeError(f"a writer ended by itself with {found}")
        writers[place] = in_child(partial(write_on, again(store), WRITERS + seed))
    for child in (*writers, *readers):
        os.kill(child, signal.SIGKILL)
    endings = [ended(child) for child in (*writers, *readers)]
    told = [seen(store).read_text()] if seen(store).exists() else []
    store = again(store)
    return {
        "problems": problems(store) + told,
        "killed": endings.count(-signal.SIGKILL) + KILLS,
        "versions": len(store.versions("tiny")),
        "events": len(store.state("tiny").events),
    }


def seen(store: Store) -> Path:
    """Where a reader writes what went wrong."""
    return store.root.with_name("seen")


def again(store: Store) -> Store:
    """The same store, as another process opens it."""
    return Store(store.root, store.address)


def at_each_request(store: Store) -> dict[str, Any]:
    """Let writers die before every STEP-th request to the address, each in a place of its own."""
    found: list[str] = []
    outcomes: list[int] = []
    while not outcomes or outcomes[-1] != 0:
        count = STEP * len(outcomes)
        place = Store(store.root, f"{store.address}-{count}")
        publish_and_promote(place)
        outcomes.append(ended(in_child(partial(_until_request, again(place), count))))
        found += [f"request {count}: {each}" for each in problems(again(place))]
        everything(again(place))  # nothing that was left behind is in the way
    return {"problems": found, "outcomes": outcomes}


def _until_request(store: Store, count: int) -> None:
    reach, left = RemoteFiles._reach, [count]

    def dying(files: RemoteFiles, ask: Callable[[], Any]) -> Any:
        left[0] -= 1
        if left[0] < 0:
            os._exit(DIED)
        return reach(files, ask)

    RemoteFiles._reach = dying  # type: ignore[method-assign]
    everything(store)


def at_each_operation(store: Store, *, die: bool) -> dict[str, Any]:
    """Let publishers die at, or fail in, each operation, one after the other."""
    found: list[str] = []
    outcomes: list[int] = []
    while not outcomes or outcomes[-1] != 0:
        copy = Store(store.root.with_name(f"{store.root.name}-{len(outcomes)}"))
        shutil.copytree(store.root, copy.root)
        outcomes.append(ended(in_child(partial(until, copy, len(outcomes), die=die))))
        found += [f"operation {len(outcomes) - 1}: {each}" for each in problems(copy)]
        everything(copy)  # nothing that was left behind is in the way
        shutil.rmtree(copy.root)
    return {"problems": found, "outcomes": outcomes}


def until(store: Store, count: int, *, die: bool) -> None:
    """Do everything, but only `count` operations of the file system succeed."""
    left = [count]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in OPERATIONS or (event == "open" and not _writes(arguments)):
            return
        left[0] -= 1
        if left[0] == -1 and die:
            os._exit(DIED)
        if left[0] == -1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    sys.addaudithook(hook)
    everything(store)
    if left[0] < 0:
        os._exit(SURVIVED)  # the operation that failed was not needed


def _writes(arguments: tuple[Any, ...]) -> bool:
    return (
        bool(arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
        if isinstance(arguments[2], int)
        else False
    )


def small(store: Store) -> dict[str, Any]:
    """Files may have so many bytes, from none to enough for the largest."""
    sizes = sorted({path.stat().st_size for path in store.root.rglob("*") if path.is_file()})
    found: list[str] = []
    outcomes: list[int] = []
    for limit in sorted(
        {0, 1, *(size + more for size in sizes for more in (-1, 0)), 1 << 20} - {-1}
    ):
        outcomes.append(ended(in_child(partial(_limited, store, limit))))
        found += [f"limit {limit}: {each}" for each in problems(store)]
    publish_and_promote(store)
    return {"problems": found + problems(store), "outcomes": outcomes}


def _limited(store: Store, limit: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    publish_and_promote(store)


if __name__ == "__main__":
    at = Store(Path(sys.argv[1]), *sys.argv[3:])
    publish_and_promote(again(at))
    modes: dict[str, Callable[[Store], dict[str, Any]]] = {
        "storm": storm,
        "crash": partial(at_each_operation, die=True) if at.address is None else at_each_request,
        "error": partial(at_each_operation, die=False),
        "small": small,
    }
    print(json.dumps(modes[sys.argv[2]](at)))
