"""Steps 4 and 5: do what the alarm advises, under load; then verify it on other images."""

import time
from collections.abc import Generator, Iterator

import numpy as np

from calibration.bins import BinSums
from calibration.document import Heading, Part
from calibration.measures.summary import Measures
from calibration.wording import counted
from candor.demo.session import (
    CHANGED,
    SITES,
    DemoSession,
    OfflineAnswers,
    side_by_side,
    verdict_of,
)
from candor.demo.traffic import RequestStream, send_test
from candor.terminal.recalibration import recalibration_document
from monitoring.diagnosis.facts import RECALIBRATIONS, Action, Hindrance
from monitoring.errors import RecalibrationRefused
from monitoring.ledger.database import Ledger
from monitoring.recalibration import AnswerFilter, Recalibration, RecalibrationPreview
from monitoring.recalibration import recalibrate as fit
from monitoring.reports.report import Report, calibration_report
from serving.client import Client
from training.evaluation.plots import plot_reliability

STREAM_S = 1.5  # of requests before the recalibration, and after the server has switched
SWITCH_S = 20.0  # that the server may take to switch to the new version


def recalibrate(
    session: DemoSession, url: str, report: Report
) -> Generator[Part, None, Recalibration | None]:
    """Step 4: publish and promote the remedy that the report advises, all under load.

    Returns None if it advises none, or the labels do not justify it.
    """
    yield Heading("4. Recalibrate")
    remedies = [each for each in report.diagnosis.actions if each.code in RECALIBRATIONS]
    advised = [each for each in remedies if each.available]
    if not advised:
        advised = [each for each in remedies if _waits_for_the_cause(each)]
        if advised:
            yield f"The report asks for the cause first. It is known: the new scanner of {CHANGED}."
    if not advised:
        yield "The report advises no recalibration, so nothing was published."
        session.figures["recalibrate"] = {"refused": "not advised"}
        return None
    with RequestStream(url, session) as stream:
        time.sleep(STREAM_S)
        try:
            done = _fit(session, advised[0])
        except RecalibrationRefused as refused:
            yield f"Nothing was published. {refused}"
            session.figures["recalibrate"] = {"refused": str(refused)}
            return None
        version = done.card.version
        session.store.promote(session.model, version)
        deadline = time.monotonic() + SWITCH_S
        while not stream.versions[version] and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(STREAM_S)
    yield from recalibration_document(RecalibrationPreview(done))
    answered = ", ".join(
        f"{count} by version {each}" for each, count in sorted(stream.versions.items())
    )
    difference = _difference(session, done, stream)
    yield (
        f"It was published as version {version} and promoted while the server answered requests "
        f"of {SITES[0]}: {answered}; {len(stream.failures)} failed. To them the two versions give "
        f"the same answers: probabilities differ by at most {difference:.0e}."
    )
    session.figures["recalibrate"] = {
        "labels": done.labels,
        "coverage": done.coverage,
        "remedy": done.proposal.remedy,
        "requests_by_version": {str(each): count for each, count in stream.versions.items()},
        "failed_requests": len(stream.failures),
        "difference_elsewhere": difference,
    }
    return done


def _waits_for_the_cause(remedy: Action) -> bool:
    is_harmful = any(each.harms for each in remedy.worst)
    return remedy.hindrance is Hindrance.FIRST and not is_harmful


def _fit(session: DemoSession, advised: Action) -> Recalibration:
    since_ns = None if advised.since_s is None else int(advised.since_s) * 10**9
    with Ledger(session.ledger_url) as ledger:
        return fit(
            ledger,
            session.store,
            session.model,
            answer_filter=AnswerFilter(since_ns=since_ns, group=advised.group),
            allow_label_changes=advised.changes_labels,
        )


def _difference(session: DemoSession, done: Recalibration, stream: RequestStream) -> float:
    """How far the new version's answers are from those of its parent, to the other site."""
    new = [pair for pair in stream.answers if pair[1]["version"] == done.card.version]
    before = OfflineAnswers(session, done.parent_version)
    expected = before.of(session.home, [index for index, _ in new], SITES[0]).probabilities
    answered = [[*answer["probabilities"].values()] for _, answer in new]
    return float(np.abs(np.array(answered) - expected).max())


def verify(session: DemoSession, client: Client, done: Recalibration) -> Iterator[Part]:
    """Step 5: send images that the remedy was not fitted on; compare both versions."""
    second = session.parts[1].tolist()
    answers = send_test(session, client, second)
    old = OfflineAnswers(session, done.parent_version).of(session.test, second, CHANGED)
    served = {
        "before": old.probabilities,
        "after": np.array([[*answer["probabilities"].values()] for answer in answers]),
    }
    versions = {"before": done.parent_version, "after": done.card.version}
    truths = session.test.labels[second]
    measures = {
        name: Measures.from_probabilities(p, truths).as_dict() for name, p in served.items()
    }
    with Ledger(session.ledger_url) as ledger:
        report = calibration_report(ledger, session.model)
    yield Heading("5. Verify")
    yield (
        f"Both versions on {CHANGED}'s other {counted(len(second), 'image')}, which the "
        "recalibration did not use:"
    )
    yield side_by_side({f"version {versions[name]}": each for name, each in measures.items()})
    pictures = session.out / "pictures"
    pictures.mkdir()
    for name, p in served.items():
        sums = BinSums.from_predictions(p.max(axis=1), p.argmax(axis=1) == truths)
        title = f"{session.model} version {versions[name]}, {CHANGED}'s new scanner"
        plot_reliability(pictures / f"{name}.png", sums, title=title)
    yield f"Reliability diagrams: {pictures}/before.png, {pictures}/after.png"
    yield verdict_of(report)
    session.figures["prove"] = {"measures": measures, "report": report.as_dict()}
