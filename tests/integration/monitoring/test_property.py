"""Any interleaving of answers, labels, acknowledgments and restarts ends as a recount."""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.drift.detector import DriftDetector
from calibration.drift.state import DriftSettings
from monitoring.drift.events import RESET
from monitoring.feedback import FeedbackItem
from tests.builders.answers import CLASSES, make_row, prediction_id
from tests.builders.monitored import Clock, MonitoredModel, assert_same_state, assert_same_sums
from tests.builders.processes import PATIENCE_S

# so quick that alarms happen
SETTINGS = DriftSettings(average_run_length=20, tolerance=0.0, class_count=2)
NUMBERS = st.integers(0, 7)
CONFIDENCES = st.sampled_from([0.5, 8 / 15, 0.6, 0.9, 14 / 15, 1.0])


@dataclass
class Model:
    """The semantics in thirty lines, kept in memory."""

    served: dict[int, float] = field(default_factory=dict)
    labels: dict[int, str] = field(default_factory=dict)
    held: dict[int, str] = field(default_factory=dict)
    detector: DriftDetector = field(default_factory=lambda: DriftDetector(SETTINGS))

    def serve(self, number: int, confidence: float) -> None:
        self.served[number] = confidence
        if number in self.held:
            self.label(number, self.held.pop(number), by_request=True)

    def label(self, number: int, name: str, *, by_request: bool) -> str:
        if number not in self.served:
            if not by_request:
                return "unknown"
            self.held[number] = name
            return "pending"
        known, self.labels[number] = self.labels.get(number), name
        if known is None:
            self.detector.update(self.served[number], name == CLASSES[1], 1)
        return "accepted" if known is None else "unchanged" if known == name else "corrected"


def item(number: int, name: str, *, by_request: bool) -> FeedbackItem:
    if by_request:
        return FeedbackItem(name, None, "pneumonia", f"scan-{number}")
    return FeedbackItem(name, prediction_id(number))


_word = st.tuples(NUMBERS, st.sampled_from(CLASSES), st.booleans())
_steps = st.lists(
    st.one_of(
        st.tuples(st.just("serve"), NUMBERS, CONFIDENCES),
        st.tuples(st.just("label"), st.lists(_word, min_size=1, max_size=6), st.none()),
        st.tuples(st.just("acknowledge"), st.none(), st.none()),
        st.tuples(st.just("reset"), st.none(), st.none()),
        st.tuples(st.just("restart"), st.none(), st.none()),
    ),
    max_size=20,
)


@settings(max_examples=30)
@given(_steps)
def test_the_ledger_is_what_a_recount_says(steps: list[tuple[str, Any, Any]]) -> None:
    model = Model()
    with tempfile.TemporaryDirectory() as folder:
        path, clock = Path(folder) / "ledger.db", Clock()
        monitored = MonitoredModel(path, clock, settings=SETTINGS)
        for kind, what, confidence in steps:
            if kind == "serve" and what not in model.served:
                monitored.serve(make_row(what, confidence=confidence, request_id=f"scan-{what}"))
                model.serve(what, confidence)
            elif kind == "label":
                statuses = monitored.label(
                    *(item(number, name, by_request=by) for number, name, by in what)
                )
                assert statuses == [
                    model.label(number, name, by_request=by) for number, name, by in what
                ]
            elif kind == "acknowledge":
                monitored.recorder.acknowledge("pneumonia").result(timeout=PATIENCE_S)
                if model.detector.active:  # else there is nothing to acknowledge
                    model.detector.reset()
            elif kind == "reset":
                monitored.recorder.acknowledge("pneumonia", kind=RESET).result(timeout=PATIENCE_S)
                model.detector.reset()
            elif kind == "restart":
                monitored.close()
                monitored = MonitoredModel(path, clock, settings=SETTINGS)
        check(monitored, model)
        monitored.close()


def check(monitored: MonitoredModel, model: Model) -> None:
    counted = [(model.served[number], name == CLASSES[1]) for number, name in model.labels.items()]
    assert_same_sums(monitored.sums().labeled, counted)
    assert monitored.sums().served.sum() == len(model.served)
    stored, replayed = monitored.detectors()
    assert_same_state(stored, model.detector)
    assert_same_state(replayed, model.detector)
    assert monitored.rows("SELECT count(*) FROM feedback_pending") == [(len(model.held),)]
