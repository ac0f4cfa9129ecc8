"""The drift watches of tags: each value of a watched key has a detector, which starts at its first
label.

The ledger bounds the values of a key: those past the first fifty share one, `(other)`. Answers
without the tag are seen by the watch of all answers alone.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict

from sqlalchemy import Connection

from calibration.drift.detector import DriftDetector
from monitoring.drift import watch
from monitoring.drift.events import STARTED
from monitoring.drift.watch import Watched
from monitoring.feedback.first_labels import FirstLabel


def advance_tags(
    connection: Connection,
    whole: Watched,
    labels: Sequence[FirstLabel],
    slices_of: Callable[[FirstLabel], Sequence[str]],
    *,
    now_ns: int,
) -> int:
    """Show first labels to the detectors of their tags and save these; return how many alarms they
    raised.

    Args:
        connection: in the transaction that records the labels.
        whole: the watch of all answers.
        labels: of its calibration, in their order.
        slices_of: the slices of a label's answer.
        now_ns: for the events.
    """
    by_slice: dict[str, list[FirstLabel]] = defaultdict(list)
    for label in labels:
        if label.tags is not None and (label.audited or not whole.settings.audit):
            for name in slices_of(label):
                if whole.tags.watches(name):
                    by_slice[name].append(label)
    known = {
        each.name: each for each in watch.load_some(connection, whole.calibration_id, by_slice)
    }
    alarms = 0
    for name, given in sorted(by_slice.items()):
        watched = known.get(name) or _start(connection, whole, name, given[0], now_ns=now_ns)
        last = given[-1].feedback_id
        alarms += watch.show_and_save(
            connection, watched, given, last_feedback_id=last, now_ns=now_ns
        )[1]
    return alarms


def _start(
    connection: Connection, whole: Watched, name: str, first: FirstLabel, *, now_ns: int
) -> Watched:
    settings = whole.tags.of_slice(whole.settings, name)
    watched = Watched(whole.calibration_id, DriftDetector(settings), first.feedback_id - 1, name)
    watch.append_event(connection, watched, STARTED, asdict(settings), now_ns=now_ns)
    return watched
