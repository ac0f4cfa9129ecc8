"""Steps 6 and 7: recalibrate on labeled answers while requests come in, then verify on images not used for it."""

import time
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from candor.demo.monitoring import label_answers, send_split
from candor.demo.session import DemoSession, heading, side_by_side
from candor.demo.traffic import RequestStream, SentImages
from candor.terminal.console import stdout
from monitoring.ledger.database import Ledger
from monitoring.recalibration import AnswerFilter, Recalibration
from monitoring.recalibration import recalibrate as fit
from serving.client.client import Client
from training.evaluation.plots import plot_reliability

STREAM_S = 1.5  # of requests before the recalibration, and after the server has switched
SWITCH_S = 20.0  # that the server may take to switch to the new version


def recalibrate(session: DemoSession, url: str, first: SentImages) -> Recalibration:
    """Step 6: fit a temperature on the labels of `first`, publish and promote it, all under load."""
    wanted = AnswerFilter(prediction_ids=frozenset(UUID(key).bytes for key in first.prediction_ids))
    with RequestStream(url, session.model, session.dataset.splits["val"]) as stream:
        time.sleep(STREAM_S)
        with Ledger(session.ledger_url) as ledger:
            done = fit(ledger, session.store, session.model, answer_filter=wanted)
        session.store.promote(session.model, done.card.version)
        deadline = time.monotonic() + SWITCH_S
        while not stream.versions[done.card.version] and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(STREAM_S)
    heading("6. Recalibrate")
    stdout.print(
        f"A new temperature was fitted on the first {done.labels} of these labels, read from the ledger: "
        f"{done.old_temperature:.3f} -> {done.new_temperature:.3f}."
    )
    answered = ", ".join(f"{count} by version {version}" for version, count in sorted(stream.versions.items()))
    stdout.print(
        f"It was published as version {done.card.version} and promoted while the server answered requests: "
        f"{answered}; {len(stream.failures)} failed."
    )
    session.figures["recalibrate"] = {
        "labels": done.labels,
        "old_temperature": done.old_temperature,
        "new_temperature": done.new_temperature,
        "requests_by_version": {str(version): count for version, count in stream.versions.items()},
        "failed_requests": len(stream.failures),
    }
    return done


def verify(session: DemoSession, client: Client, second: SentImages, done: Recalibration) -> None:
    """Step 7: send the images again that the new temperature was not fitted on; compare both versions' reports."""
    after = send_split(session, client, "test", second.indices)
    label_answers(client, after, stage="labels of test images, again")
    window = f"last:{len(second.indices)}"  # the second half was labeled last, by either version
    versions = {"before": done.parent_version, "after": done.card.version}
    reports = {
        name: client.calibration(session.model, version=version, window=window) for name, version in versions.items()
    }
    heading("7. Verify")
    stdout.print(
        f"Both versions on the other {len(second.indices)} test images, which the recalibration did not use:\n"
    )
    stdout.print(side_by_side({f"version {versions[name]}": report["measures"] for name, report in reports.items()}))
    pictures = session.out / "pictures"
    pictures.mkdir()
    for name, sums in (("before", second.sums()), ("after", after.sums())):
        title = f"{session.model} version {versions[name]}, after the drift"
        plot_reliability(pictures / f"{name}.png", sums, title=title)
    stdout.print(f"\n{_outcome(reports)}")
    stdout.print(f"Reliability diagrams: {pictures}/before.png, {pictures}/after.png")
    session.figures["prove"] = reports


def _outcome(reports: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the result in words that follow from the figures alone."""
    before, after = reports["before"]["measures"], reports["after"]["measures"]
    verb = "fell" if after["ece"] < before["ece"] else "did not fall"
    apart = after["ece_upper"] < before["ece_lower"]
    certainty = "the intervals do not overlap" if apart else "the intervals overlap"
    return f"ECE {verb}: {before['ece']:.3f} -> {after['ece']:.3f} (floor {after['noise_floor']:.3f}); {certainty}."
