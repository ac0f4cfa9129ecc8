"""Answers on their way through the spool to a real ledger."""

from pathlib import Path

from sqlalchemy.exc import OperationalError

from monitoring.feedback import FeedbackItem
from monitoring.ledger.versions import card_sha256
from monitoring.recording.spool import CardKey, Frame, Spool
from tests.builders.answers import label, make_card, make_row
from tests.builders.monitored import BOTH_DATABASES, Clock, MonitoredModel

DATABASES = BOTH_DATABASES
AWAY = OperationalError("INSERT", {}, Exception("the disk is full"))


def spooled(path: Path, *frames: Frame) -> Spool:
    with Spool(path, limit_bytes=2**16) as spool:
        for frame in frames:
            spool.append(frame)
    return Spool(path, limit_bytes=0)


def await_empty(monitored: MonitoredModel) -> None:
    """A task waits until the portion before it is joined."""
    for _ in range(1000):
        if monitored.registry.get_sample_value("candor_spool_rows") == 0:
            return
        monitored.in_writer("SELECT 1")
    raise AssertionError("still spooled")


def test_what_is_there_already_is_not_joined_again_and_labels_find_the_rest(
    ledger_url: str, tmp_path: Path, clock: Clock
) -> None:
    """Spooled under another ledger's number; one answer was committed unheard."""
    with MonitoredModel(ledger_url, clock) as monitored:
        monitored.serve(make_row(1, request_id="scan-1"))
        assert monitored.label(FeedbackItem("pneumonia", None, "pneumonia", "scan-2")) == [
            "pending"
        ]
    rows = [
        make_row(number, watched_version_id=77, request_id=f"scan-{number}") for number in (1, 2, 3)
    ]
    cards = {77: CardKey("pneumonia", 1, card_sha256(make_card()))}
    with (
        spooled(tmp_path / "s", Frame(cards, rows[:2]), Frame(cards, rows[2:])) as spool,
        MonitoredModel(ledger_url, clock, spool=spool) as monitored,
    ):
        await_empty(monitored)
        assert monitored.sums().served.sum() == 3
        assert monitored.rows("SELECT count(*), max(watched_version_id) FROM prediction") == [
            (3, monitored.watched_version_id)
        ]
        # the first was served before this process
        assert monitored.metric("predictions_total") == 2
        # the label that came first
        assert monitored.rows("SELECT count(*) FROM feedback") == [(1,)]
        assert monitored.label(label(1), label(2), label(3)) == [
            "accepted",
            "unchanged",
            "accepted",
        ]
    assert not (tmp_path / "s").exists()


def test_answers_of_a_ledger_that_is_not_this_one_are_kept_beside(
    ledger_url: str, tmp_path: Path, clock: Clock
) -> None:
    frame = Frame({1: CardKey("other", 1, "0" * 64)}, [make_row(1)])
    with (
        spooled(tmp_path / "s", frame) as spool,
        MonitoredModel(ledger_url, clock, spool=spool) as monitored,
    ):
        await_empty(monitored)
        assert monitored.sums().served.sum() == 0
        assert (tmp_path / "s.refused").read_bytes() == frame.as_line()
        monitored.serve(make_row(2))  # and it goes on
