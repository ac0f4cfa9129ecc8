"""Fixtures for every room's tests: a store that holds a tiny sound bundle, ledgers, data."""

import gc
import logging
import os
import shutil
import subprocess

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # for the tests that load ONNX Runtime by themselves
os.environ["PYDANTIC_DISABLE_PLUGINS"] = "1"  # it looks for them in all that tests install
# Networks of tests are so small that several threads take up to twenty times the processor time.
os.environ["OMP_NUM_THREADS"] = "1"

from collections.abc import Generator, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from httpx._config import DEFAULT_TIMEOUT_CONFIG
from httpx._transports import default
from hypothesis import settings

from model_store.store.store import Store
from tests.builders import programs
from tests.builders.bundles import publish_tiny
from tests.builders.postgres import Cluster
from tests.builders.processes import PATIENCE_S

# httpx gives up after 5 s by default, which a busy machine may need for an answer.
for part in ("connect", "read", "write", "pool"):
    setattr(DEFAULT_TIMEOUT_CONFIG, part, PATIENCE_S)
# httpx reads all certificates of authorities for each client, which takes longer than a request.
default.create_ssl_context = cache(default.create_ssl_context)
# No deadline: machines are shared. The same examples each time: a red build is never luck.
settings.register_profile("candor", deadline=None, derandomize=True)
settings.register_profile("quick", settings.get_profile("candor"), max_examples=20)  # make check
settings.load_profile("candor")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Generator[None, object, object]:
    """Nearly all that is collected stays; to look for garbage in it took a fifth of the time."""
    gc.disable()
    done = yield
    gc.enable()
    gc.freeze()
    return done


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before any fixture."""
    for mark in item.iter_markers("programs"):
        programs.need(*mark.args)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """A server that starts in this process configures logging, which is afterwards as it was."""
    root = logging.getLogger()
    level, handlers = root.level, [*root.handlers]
    done = yield
    root.setLevel(level)
    root.handlers[:] = handlers
    return done


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = terminalreporter.stats.get("skipped", [])
    lacking = programs.summary(report.longrepr[2] for report in reports)
    if lacking is not None:
        terminalreporter.write_line(lacking, yellow=True)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """In several processes (`-n`)."""
    from tests.builders.scheduling import SharingScheduling  # processes without it need no xdist

    return SharingScheduling(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores (`-n auto`): tests wait for processes a fifth of their time."""
    return min(4, (os.cpu_count() or 1) + 1)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data sets (`pneumoniamnist.npz`, ...), where there is one."""
    folder = os.environ.get("CANDOR_DATA")
    if not folder:
        pytest.skip("set CANDOR_DATA to a folder with the MedMNIST files to run tests on real data")
    return Path(folder)


@pytest.fixture(scope="module")
def undrawn() -> Iterator[None]:
    """The module's trainings draw no plots, which takes longer than they do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.evaluation.plots.save", lambda *_: None)
        yield


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """A PostgreSQL server of our own."""
    cluster = Cluster(programs.need("initdb").resolve().parent)
    yield cluster
    cluster.close()


@pytest.fixture
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a new ledger; of each kind where a module sets DATABASES = BOTH_DATABASES."""
    if getattr(request, "param", "sqlite") == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    cluster: Cluster = request.getfixturevalue("postgres")
    return cluster.make_database()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    databases = getattr(metafunc.module, "DATABASES", None)
    if databases is not None and "ledger_url" in metafunc.fixturenames:
        metafunc.parametrize("ledger_url", databases, indirect=True)


@pytest.fixture(scope="session")
def published_once(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """What `tiny_store` copies; a process makes it once."""
    return publish_tiny(tmp_path_factory.mktemp("tiny") / "store")


@pytest.fixture
def tiny_store(published_once: Store, tmp_path: Path) -> Store:
    """Version 1 of "tiny" (3 classes, RGB 8 x 8, T = 1.5, referral below 0.6) in production."""
    return Store(Path(shutil.copytree(published_once.root, tmp_path / "store")))


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 and its key in one file."""
    folder = tmp_path_factory.mktemp("tls")
    make = (
        f"req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=candor -keyout {folder}/key.pem "
        f"-out {folder}/chain.pem"
    )
    subprocess.run(
        [programs.need("openssl"), *make.split(), "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True,
        capture_output=True,
    )
    both = folder / "both.pem"
    both.write_text((folder / "key.pem").read_text() + (folder / "chain.pem").read_text())
    return both
