"""Which of several truths about a version comes first."""

import math

import pytest

from calibration.diagnosis.facts import (
    AnswerGroup,
    Cause,
    Course,
    Deviation,
    Figures,
    Inference,
    Rival,
    RivalStatus,
    Since,
)
from calibration.measures.estimates import IntervalEstimate
from monitoring.diagnosis.coverage import DAY_S, Rhythm
from monitoring.diagnosis.facts import Alarm, Basis, State
from monitoring.diagnosis.state import Findings, decide
from monitoring.feedback.discordance import Discordance, OtherLabels, SecondReadings

SURE = IntervalEstimate(0.1, 0.08, 0.12)
ALARM = Alarm(None, "over", 0.0, 1, 500, 12.0, 11.5)


def findings(
    *, score: float, label_age: float = 0.0, alarm: bool = False, cause: str = ""
) -> Findings:
    """An error that goes on; `cause` explains all of it; the newest label is so many days old."""
    now_s, until_s = 100 * DAY_S, (100 - label_age) * DAY_S
    error = Deviation(
        AnswerGroup("tag:site", ("B",)),
        score,
        Since(50 * DAY_S, 49 * DAY_S, 51 * DAY_S, 0.0),
        None,
        Course.STEP,
        Figures(200, 0.9, SURE, SURE),
        None,
    )
    rivals = (Rival(Cause(cause), RivalStatus.EXPLAINS_ALL),) if cause else ()
    return Findings(
        inference=Inference(1_000, 0.0, 1.0, SURE, (error,), rivals),
        lower=(),
        basis=Basis(1_200, 1_000, 1_000, 0, math.nan, 0.9, 0.0, now_s, until_s, until_s),
        rhythm=Rhythm(14 * DAY_S, 28 * DAY_S, DAY_S),
        alarms=(ALARM,) if alarm else (),
        unchecked=(),
        early_signs=(),
        other_labels=OtherLabels(
            (), SecondReadings(Discordance(0, 0, 0, 0, 1.0), 0, SURE), 0, True
        ),
        now_s=now_s,
    )


@pytest.mark.parametrize(
    ("score", "label_age", "state"),
    [(2.0, 28, State.STALE), (2.0, 1, State.LOOK), (9.0, 28, State.LOOK)],
)
def test_no_labels_for_weeks_outrank_a_guess(score: float, label_age: float, state: State) -> None:
    assert decide(findings(score=score, label_age=label_age))[0] is state


@pytest.mark.parametrize(
    ("cause", "state"), [("", State.ALARM), ("noise", State.LOOK), ("input", State.ALARM)]
)
def test_another_cause_that_explains_all_wakes_nobody(cause: str, state: State) -> None:
    """Images out of scope are an error all the same."""
    assert decide(findings(score=50.0, alarm=True, cause=cause))[0] is state
