"""A bundle whose probe images are answered otherwise here than where it was published."""

import asyncio
import math
from functools import partial
from pathlib import Path

import pytest

import candor
from hosting.errors import ProbesDiffer
from model_store.bundle.bundle import write_bundle
from model_store.runtime import open_session
from model_store.store.store import Store
from tests.builders.bundles import build_bundle, build_card, build_onnx, png
from tests.builders.processes import candor_here
from tests.builders.services import running

pytestmark = pytest.mark.anyio


@pytest.fixture
def other_machine(tiny_store: Store) -> Store:
    """A store whose version 2 in production was published where it computes otherwise by .1."""
    tiny_store.publish("tiny", partial(build_bundle, off_by=0.1))
    tiny_store.promote("tiny", 2)
    return tiny_store


async def test_a_start_refuses_it_and_says_why_everywhere(
    other_machine: Store, tmp_path: Path
) -> None:
    async with running(other_machine, tmp_path) as server:
        ready = await server.client.get("/readyz")
        assert ready.status_code == 503
        refused = ready.json()["refused"]["tiny"]
        assert refused["version"] == 2
        assert "differ by 0.1" in refused["reason"]
        assert (await server.predict(png())).status_code == 503
        assert server.counted(
            "candor_probe_difference", model="tiny", version="2"
        ) == pytest.approx(0.1, abs=1e-4)
        page = (await server.client.get("/versions/tiny")).text
    assert "differ by 0.1" in page


async def test_a_hot_load_refuses_it_and_the_old_version_goes_on(
    tiny_store: Store, tmp_path: Path
) -> None:
    async with running(tiny_store, tmp_path) as server:
        assert server.counted("candor_probe_difference", model="tiny", version="1") < 1e-5
        tiny_store.publish("tiny", partial(build_bundle, off_by=0.1))
        tiny_store.promote("tiny", 2)
        await asyncio.to_thread(server.service.watcher.scan)
        assert (await server.client.get("/readyz")).json()["refused"]["tiny"]["version"] == 2
        assert (await server.predict(png())).json()["version"] == 1


async def test_a_server_that_only_warns_answers_and_doubts(
    other_machine: Store, tmp_path: Path
) -> None:
    async with running(other_machine, tmp_path, on_difference="warn") as server:
        assert (await server.predict(png())).json()["version"] == 2
        ready = (await server.client.get("/readyz")).json()
        assert "differ by 0.1" in ready["doubts"]["tiny"]
        assert ready["refused"] == {}


async def test_bundles_without_probes_are_served(tmp_path: Path) -> None:
    store = Store(tmp_path / "models")
    store.publish(
        "tiny",
        lambda folder, version: write_bundle(
            folder, card=build_card(version=version), onnx=build_onnx()
        ),
    )
    store.promote("tiny", 1)
    async with running(store, tmp_path) as server:
        assert (await server.predict(png())).status_code == 200
        assert math.isnan(server.counted("candor_probe_difference", model="tiny", version="1"))


async def test_python_refuses_it_too_unless_it_shall_warn(other_machine: Store) -> None:
    bundle = other_machine.read("tiny", 2)
    with pytest.raises(ProbesDiffer) as refused:
        candor.open_predictor(bundle)
    assert refused.value.difference == pytest.approx(0.1, abs=1e-4)
    assert candor.open_predictor(bundle, on_difference="warn").doubt is not None
    assert candor.open_predictor(other_machine.read("tiny", 1)).doubt is None


async def test_exact_sums_of_integers_are_tried_before_it_is_refused(
    other_machine: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried, plain = [], open_session
    monkeypatch.setattr(
        "serving.inference.predictor.open_session",
        lambda *given, exact: tried.append(exact) or plain(*given, exact=exact),
    )
    candor.open_predictor(other_machine.read("tiny", 1))
    assert set(tried) == {False}
    candor.open_predictor(other_machine.read("tiny", 2), on_difference="warn")
    assert tried[-1]


@pytest.mark.parametrize("command", [["models", "verify", "tiny"], ["doctor"]])
async def test_commands_name_it(other_machine: Store, command: list[str]) -> None:
    environment = {"CANDOR_STORE": str(other_machine.root), "CANDOR_LEDGER": "off"}
    done = candor_here(*command, env=environment | {"COLUMNS": "500"})
    assert done.exit_code == 1
    assert "differ by 0.1" in done.output
