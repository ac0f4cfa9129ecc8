"""The story in seven steps. Every figure is measured while it is told; none is written here."""

import json
import shutil
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
from rich.table import Table

from candor.demo.server import ServerProcess
from candor.demo.traffic import Sent, Stream, label, send
from candor.demo.training import TwoRuns, train_both
from candor.terminal.console import stdout
from candor.terminal.measures import MEASURES_COLUMNS, measures_row
from candor.terminal.progress import bars
from candor.terminal.tables import figure, table
from model_store.store import Store
from monitoring.ledger.database import Ledger
from monitoring.recalibration import AnswerFilter, Recalibration, recalibrate
from serving.client.client import Client
from training.datasets import FoundDataset, SplitName, find_dataset
from training.evaluation.evaluation import EVALUATED, Method
from training.evaluation.plots import plot_reliability
from training.runs.export import ExportedModel, export

OWN_ENTRIES = ("runs", "models", "pictures", "ledger.db", "ledger.db-wal", "ledger.db-shm", "server.log")
VALIDATION_LIMIT = 600
STREAM_S = 1.5
SWITCH_S = 20.0
NAMES: dict[Method, str] = {"uncalibrated": "", "temperature": " + temperature"}
TITLES = {"ce": "cross-entropy", "dca": "DCA"}


def tell(
    *,
    source: Path | None,
    data_folder: Path | None,
    cache: Path,
    out: Path,
    seed: int,
    once: bool,
    json_file: Path | None,
) -> None:
    """Tell the story from the data to the recalibrated model in production.

    Args:
        source: data set or data folder; None looks in `data_folder`, then on the network, then takes digits.
        data_folder: may also hold pretrained weights.
        cache: kept between runs: downloads and frozen features.
        out: everything the story makes; entries of an earlier story are removed first.
        seed: of the training, and of the order in which images are sent.
        once: stop the server at the end.
        json_file: where to write every figure.
    """
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that the server is ended too
    started = time.monotonic()
    _clear(out)
    with bars() as progress:
        found = find_dataset(source, data_folder=data_folder, cache=cache, seed=seed, progress=progress)
        weights_folder = source if source is not None and source.is_dir() else data_folder
        runs = train_both(
            found, weights_folder=weights_folder, out=out / "runs", cache=cache, seed=seed, progress=progress
        )
    teller = Teller(found=found, out=out, seed=seed)
    teller.introduce(runs)
    exported = teller.publish(runs)
    with ServerProcess(store=out / "models", ledger=teller.ledger_url, log=out / "server.log") as server:
        with Client(server.url) as client:
            teller.live(server, client, exported)
        teller.finish(server, seconds=time.monotonic() - started, json_file=json_file)
        if not once:
            stdout.print("The server stays up to be tried; Ctrl-C ends it.")
            server.wait()


class Teller:
    """Goes through the steps, prints each, and keeps its figures for the JSON file."""

    def __init__(self, *, found: FoundDataset, out: Path, seed: int) -> None:
        self._dataset = found.dataset
        self._found = found
        self._out = out
        self._store = Store(out / "models")
        self._model = found.dataset.name
        self._order = np.random.default_rng(seed)
        self._figures: dict[str, Any] = {"seed": seed, "dataset": found.dataset.name, "origin": found.origin}

    @property
    def ledger_url(self) -> str:
        """The story's own ledger."""
        return f"sqlite:///{self._out / 'ledger.db'}"

    def introduce(self, runs: TwoRuns) -> None:
        """Step 1: what was trained, and how calibrated it is."""
        counts = ", ".join(f"{len(split.labels)} {name}" for name, split in self._dataset.splits.items())
        stdout.print(f"{self._found.note} ({counts}; classes {', '.join(self._dataset.classes)}). {runs.note}\n")
        stdout.print("1. Train the same network twice from one start: with cross-entropy, and with DCA.")
        for split in EVALUATED:
            rows, figures = [], {}
            for run, loss in ((runs.ce, "ce"), (runs.dca, "dca")):
                for method in NAMES:
                    measures = run.evaluation.measures[split][method]
                    temperature = run.evaluation.temperature if method == "temperature" else 1.0
                    row = measures_row(TITLES[loss] + NAMES[method], measures.as_dict())
                    rows.append([*row, figure(temperature)])
                    figures[f"{loss}_{method}"] = measures.as_dict() | {"temperature": temperature}
            self._figures[f"train_{split}"] = figures
            stdout.print(table(f"\n{split}", (*MEASURES_COLUMNS, "T"), rows))
        stdout.print(
            "\nECE: how far confidence is from accuracy. Floor: what chance alone shows for a calibrated model."
        )
        stdout.print(
            "Gap: mean confidence minus accuracy; above 0 the model is surer than it is right. T: temperature."
        )
        stdout.print(f"Reliability diagrams: {self._out / 'runs'}/*/plots/reliability_*.png\n")

    def publish(self, runs: TwoRuns) -> ExportedModel:
        """Step 2: the DCA model becomes version 1, in production."""
        exported = export(runs.dca.folder, self._store, self._model)
        self._store.promote(self._model, exported.version)
        folder = self._store.folder(self._model, exported.version)
        sizes = ", ".join(f"{path.name} {path.stat().st_size / 1e6:.1f} MB" for path in sorted(folder.iterdir()))
        stdout.print(f"2. Export the DCA model: {folder} ({sizes}).")
        stdout.print(
            f"   torch and ONNX Runtime agree to {exported.max_difference:.1e} on {exported.images} real images; "
            f"`production` -> version {exported.version}.\n"
        )
        self._figures["export"] = {"max_difference": exported.max_difference, "images": exported.images}
        return exported

    def live(self, server: ServerProcess, client: Client, exported: ExportedModel) -> None:
        """Steps 3 to 7: over HTTP, against the server's own process."""
        validation = self._serve(server, client)
        self._confirm(client, validation, exported)
        shifted = self._drift(client, exported)
        first, second = shifted.halves()
        done = self._recalibrate(server, first)
        self._prove(client, second, done)

    def finish(self, server: ServerProcess, *, seconds: float, json_file: Path | None) -> None:
        """Say where everything lies, and write the figures."""
        self._figures["seconds"] = round(seconds, 1)
        stdout.print(f"Told in {seconds:.0f} s. Everything lies in {self._out}.")
        stdout.print(f"Pages: {server.url}/  {server.url}/calibration/{self._model}/page  {server.url}/metrics")
        if json_file is not None:
            json_file.parent.mkdir(parents=True, exist_ok=True)
            json_file.write_text(json.dumps(self._figures, indent=2, allow_nan=False) + "\n")

    def _serve(self, server: ServerProcess, client: Client) -> Sent:
        stdout.print(f"3. Serve it from a process without torch: {server.url}, ready in {server.ready_s:.1f} s.")
        count = len(self._dataset.splits["val"].labels)
        started = time.monotonic()
        indices = self._order.permutation(count)[:VALIDATION_LIMIT].tolist()
        sent = self._send(client, "val", indices)
        elapsed = time.monotonic() - started
        stdout.print(
            f"   {len(indices)} validation images answered over HTTP in {elapsed:.1f} s. Three answers in full:"
        )
        for answer in sent.answers[:3]:
            stdout.print("   " + json.dumps(answer))
        self._figures["serve"] = {"ready_s": server.ready_s, "images": len(indices), "seconds": elapsed}
        return sent

    def _confirm(self, client: Client, sent: Sent, exported: ExportedModel) -> None:
        statuses = self._label(client, sent, stage="labels of validation images")
        report = client.calibration(self._model)
        card = exported.card.calibration.measures
        stdout.print(f"\n4. Label them ({_counts(statuses)}). The monitor beside the card:\n")
        stdout.print(_side_by_side({"card": card, "monitor": report["measures"]}))
        stdout.print(f"   {_drift_sentence(report['drift'])}\n")
        self._figures["label"] = {"card": card, "report": report}

    def _drift(self, client: Client, exported: ExportedModel) -> Sent:
        count = len(self._dataset.splits["test"].labels)
        before = client.calibration(self._model)["drift"]["labels"]
        sent = self._send(client, "test", self._order.permutation(count).tolist())
        self._label(client, sent, stage="labels of test images")
        report = client.calibration(self._model, window=f"last:{count}")
        drift = report["drift"]
        alarm = drift["alarm_label"] - before if drift["active"] else None
        stdout.print("5. Drift: the test images come from elsewhere. They are sent and labeled in random order.")
        if alarm is None:
            stdout.print(f"   No alarm within {count} labels. {_drift_sentence(drift)}")
        else:
            stdout.print(f"   ALARM after {alarm} of their labels: the model is {drift['direction']}confident.\n")
        card = exported.card.calibration.measures
        stdout.print(_side_by_side({"card": card, f"last {count} labels": report["measures"]}))
        stdout.print(f"   {report['verdict']}\n")
        self._figures["drift"] = {"alarm_after_labels": alarm, "report": report}
        return sent

    def _recalibrate(self, server: ServerProcess, first: Sent) -> Recalibration:
        answer_filter = AnswerFilter(prediction_ids=frozenset(UUID(key).bytes for key in first.prediction_ids))
        with Stream(server.url, self._model, self._dataset.splits["val"]) as stream:
            time.sleep(STREAM_S)
            with Ledger(self.ledger_url) as ledger:
                done = recalibrate(ledger, self._store, self._model, answer_filter=answer_filter)
            self._store.promote(self._model, done.card.version)
            deadline = time.monotonic() + SWITCH_S
            while not stream.versions[done.card.version] and time.monotonic() < deadline:
                time.sleep(0.05)
            time.sleep(STREAM_S)
        stdout.print(f"6. Recalibrate on the first {done.labels} of those labels, from the ledger, and promote:")
        stdout.print(
            f"   temperature {done.old_temperature:.3f} -> {done.new_temperature:.3f}, published as version "
            f"{done.card.version}. Requests answered meanwhile, by version: {dict(stream.versions)}; "
            f"failed: {len(stream.failures)}.\n"
        )
        self._figures["recalibrate"] = {
            "labels": done.labels,
            "old_temperature": done.old_temperature,
            "new_temperature": done.new_temperature,
            "requests_by_version": {str(version): count for version, count in stream.versions.items()},
            "failed_requests": len(stream.failures),
        }
        return done

    def _prove(self, client: Client, second: Sent, done: Recalibration) -> None:
        """Send again the images that the new temperature never saw, and compare what the monitor says of both."""
        after = self._send(client, "test", second.indices)
        self._label(client, after, stage="labels of test images, again")
        window = f"last:{len(second.indices)}"  # the second half was labeled last, of either version
        versions = {"before": done.parent_version, "after": done.card.version}
        reports = {
            name: client.calibration(self._model, version=version, window=window) for name, version in versions.items()
        }
        stdout.print(
            f"7. Prove it on the other {len(second.indices)} test images, which the recalibration never saw:\n"
        )
        stdout.print(
            _side_by_side({f"version {versions[name]}": report["measures"] for name, report in reports.items()})
        )
        pictures = self._out / "pictures"
        pictures.mkdir()
        for name, sums in (("before", second.sums()), ("after", after.sums())):
            plot_reliability(
                pictures / f"{name}.png", sums, title=f"{self._model} version {versions[name]}, after the drift"
            )
        stdout.print(f"   {_outcome(reports)} Pictures: {pictures}/before.png, after.png\n")
        self._figures["prove"] = reports

    def _send(self, client: Client, name: SplitName, indices: list[int]) -> Sent:
        split = self._dataset.splits[name]
        with bars() as progress:
            return send(
                client,
                self._model,
                split,
                indices,
                classes=self._dataset.classes,
                progress=progress,
                stage=f"{name} images",
            )

    def _label(self, client: Client, sent: Sent, *, stage: str) -> Mapping[str, int]:
        with bars() as progress:
            return label(client, sent, progress=progress, stage=stage)


def _side_by_side(measures: Mapping[str, Mapping[str, Any]]) -> Table:
    return table("", MEASURES_COLUMNS, [measures_row(name, each) for name, each in measures.items()])


def _counts(statuses: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()))


def _drift_sentence(drift: Mapping[str, Any]) -> str:
    state = "ALARM" if drift["active"] else "no alarm"
    return (
        f"Drift watch: {state}; evidence {drift['log_evalue']:.1f}, alarm at {drift['log_threshold']:.1f} "
        f"(log e), {drift['labels']} labels."
    )


def _outcome(reports: Mapping[str, Mapping[str, Any]]) -> str:
    """What came out, in words that follow from the figures alone."""
    before, after = reports["before"]["measures"], reports["after"]["measures"]
    verb = "fell" if after["ece"] < before["ece"] else "did not fall"
    apart = after["ece_upper"] < before["ece_lower"]
    certainty = "the intervals do not overlap" if apart else "the intervals overlap"
    return f"ECE {verb}: {before['ece']:.3f} -> {after['ece']:.3f} (floor {after['noise_floor']:.3f}); {certainty}."


def _clear(out: Path) -> None:
    """Remove an earlier story; only what a story makes, so that a wrong --out costs nothing."""
    out.mkdir(parents=True, exist_ok=True)
    for name in OWN_ENTRIES:
        path = out / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
