"""The real MLflow and Weights & Biases hold a finished run, and nothing leaves this machine."""

import socket
from pathlib import Path

import pytest

from tests.builders.datasets import tracked_run
from training.runs.trackers import TrackedRun, track


@pytest.fixture
def run(tmp_path: Path) -> TrackedRun:
    (tmp_path / "runs").mkdir()
    return tracked_run(tmp_path / "runs" / "dca-seed-3")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """No address can be looked up."""

    def refuse(host: object, *_: object, **__: object) -> None:
        raise AssertionError(f"asked for the address of {host}")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for name in ("MLFLOW_TRACKING_URI", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)


def test_mlflow_holds_the_run_beside_its_folder(
    run: TrackedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert track(run, "mlflow") is None
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{run.folder.parent / 'mlflow.db'}")
    (found,) = client.search_runs([client.get_experiment_by_name("candor").experiment_id])
    assert found.info.status == "FINISHED"
    assert found.data.params["loss"] == "dca"
    assert found.data.metrics["test/temperature/ece"] == run.measures()["test/temperature/ece"]
    assert [each.value for each in client.get_metric_history(found.info.run_id, "val/loss")] == [
        1.0,
        0.5,
    ]


def test_a_tracker_that_fails_does_not_lose_the_run(
    run: TrackedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow")
    run.folder.write_text("a file, where a folder would have to be")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{run.folder}/mlflow.db")
    assert "the run is complete, but mlflow did not record it" in str(track(run, "mlflow"))


def test_wandb_keeps_the_run_offline(run: TrackedRun) -> None:
    pytest.importorskip("wandb")
    assert track(run, "wandb") is None
    (kept,) = (run.folder.parent / "wandb").glob("offline-run-*/*.wandb")
    content = kept.read_bytes()
    assert all(word in content for word in (b"val/loss", b"test/temperature/ece", b"fingerprint"))
