"""Steps 6 and 7: recalibrate on labeled answers under load, then verify on other images."""

import time
from collections.abc import Generator, Iterator, Mapping
from typing import Any
from uuid import UUID

from calibration.document import Heading, Part
from calibration.figures import change, remedy_table
from calibration.wording import counted, percent
from candor.demo.session import DemoSession, side_by_side
from candor.demo.traffic import RequestStream, SentImages, label_answers, send_split
from candor.terminal.recalibration import class_table, note_lines
from monitoring.diagnosis.vocabulary import OF_CLASSES
from monitoring.errors import RecalibrationRefused
from monitoring.ledger.database import Ledger
from monitoring.recalibration import AnswerFilter, Recalibration, RecalibrationPreview
from monitoring.recalibration import recalibrate as fit
from serving.client import Client
from training.evaluation.plots import plot_reliability

STREAM_S = 1.5  # of requests before the recalibration, and after the server has switched
SWITCH_S = 20.0  # that the server may take to switch to the new version


def recalibrate(
    session: DemoSession, url: str, first: SentImages
) -> Generator[Part, None, Recalibration | None]:
    """Step 6: choose a remedy on the labels of `first`, publish and promote it, all under load.

    Returns None if the labels do not justify a recalibration.
    """
    wanted = AnswerFilter(prediction_ids=frozenset(UUID(key).bytes for key in first.prediction_ids))
    yield Heading("6. Recalibrate")
    with RequestStream(url, session.model, session.dataset.splits["val"]) as stream:
        time.sleep(STREAM_S)
        try:
            with Ledger(session.ledger_url) as ledger:
                done = fit(
                    ledger,
                    session.store,
                    session.model,
                    answer_filter=wanted,
                    allow_label_changes=True,
                )
        except RecalibrationRefused as refused:
            yield f"Nothing was published. {refused}"
            session.figures["recalibrate"] = {"refused": str(refused)}
            return None
        session.store.promote(session.model, done.card.version)
        deadline = time.monotonic() + SWITCH_S
        while not stream.versions[done.card.version] and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(STREAM_S)
    yield f"The first {done.labels} of these labels, read from the ledger, choose the remedy."
    shown = RecalibrationPreview(done)
    yield from remedy_table(done.proposal.choice, unchanged="as served")
    yield shown.sentence
    yield class_table(shown.proposal.classes, OF_CLASSES)
    yield from note_lines(shown)
    answered = ", ".join(
        f"{count} by version {version}" for version, count in sorted(stream.versions.items())
    )
    yield (
        f"It was published as version {done.card.version} and promoted while the server answered "
        f"requests: {answered}; {len(stream.failures)} failed."
    )
    session.figures["recalibrate"] = {
        "labels": done.labels,
        "coverage": done.coverage,
        "remedy": done.proposal.remedy,
        "old_temperature": done.old_temperature,
        "new_temperature": done.new_temperature,
        "class_bias": done.card.calibration.class_bias,
        "requests_by_version": {str(version): count for version, count in stream.versions.items()},
        "failed_requests": len(stream.failures),
    }
    return done


def verify(
    session: DemoSession, client: Client, second: SentImages, done: Recalibration
) -> Iterator[Part]:
    """Step 7: send the images that the remedy was not fitted on again; compare both versions."""
    after = send_split(session, client, "test", second.indices)
    label_answers(client, after, stage="labels of test images, again")
    versions = {"before": done.parent_version, "after": done.card.version}
    reports = {
        name: client.calibration(session.model, version=versions[name])
        | {"measures": sent.measures()}
        for name, sent in (("before", second), ("after", after))
    }
    yield Heading("7. Verify")
    yield (
        f"Both versions on the other {counted(len(second.indices), 'test image')}, which the "
        "recalibration did not use:"
    )
    yield side_by_side(
        {f"version {versions[name]}": report["measures"] for name, report in reports.items()}
    )
    pictures = session.out / "pictures"
    pictures.mkdir()
    for name, sums in (("before", second.sums()), ("after", after.sums())):
        title = f"{session.model} version {versions[name]}, after the drift"
        plot_reliability(pictures / f"{name}.png", sums, title=title)
    yield f"{_outcome(reports)} {_alarm(done.card.version, reports['after']['drift'])}"
    yield f"Reliability diagrams: {pictures}/before.png, {pictures}/after.png"
    session.figures["prove"] = reports


def _outcome(reports: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the result in words that follow from the figures alone."""
    before, after = reports["before"]["measures"], reports["after"]["measures"]
    verb = "fell" if after["ece"] < before["ece"] else "did not fall"
    apart = after["ece_upper"] < before["ece_lower"]
    certainty = "the intervals do not overlap" if apart else "the intervals overlap"
    return (
        f"ECE {verb}: {change(before['ece'], after['ece'])} (floor "
        f"{percent(after['noise_floor'])}); {certainty}. Accuracy: "
        f"{change(before['accuracy'], after['accuracy'])}."
    )


def _alarm(version: int, drift: Mapping[str, Any]) -> str:
    """Return what the drift detector says of the new version."""
    if not drift["active"]:
        return f"Version {version} raised no drift alarm on these {drift['labels']} labels."
    return f"Version {version} is in alarm too, since label {drift['alarm_label']}."
