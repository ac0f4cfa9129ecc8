"""Answers are counted in few slices, whatever callers send, and labels move with them."""

import json
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from monitoring.ledger.predictions import PredictionRow
from monitoring.ledger.sum_tables import KEY_LIMIT, VALUE_LIMIT, SumKey, add_sums
from monitoring.ledger.sums import LedgerSums, read_slices, read_sums
from tests.builders.answers import CLASSES, DAY_NS, NOW_NS, label, make_card, make_row
from tests.builders.monitored import BOTH_DATABASES, Clock, MonitoredModel, assert_same_sums

DATABASES = BOTH_DATABASES


def tagged(
    number: int, *, confidence: float = 0.9, predicted: int = 1, served_days: int = 0, **tags: str
) -> PredictionRow:
    row = make_row(
        number,
        confidence=confidence,
        predicted=predicted,
        served_at_ns=NOW_NS - served_days * DAY_NS,
    )
    return row._replace(tags=json.dumps(tags, sort_keys=True))


def slices(monitored: MonitoredModel) -> dict[str, LedgerSums]:
    with monitored.ledger.read() as connection:
        return read_slices(connection, monitored.watched_version_id)


def test_an_answer_counts_in_everything_its_class_its_tags_and_its_audit(
    monitored: MonitoredModel,
) -> None:
    monitored.serve(tagged(1, site="A", ward="3")._replace(audit=0.25), make_row(2, predicted=0))
    served = {name: int(sums.served.sum()) for name, sums in slices(monitored).items()}
    assert served == {
        "": 2,
        "audit": 1,
        "predicted:normal": 1,
        "predicted:pneumonia": 1,
        "tag:site=A": 1,
        "tag:ward=3": 1,
    }
    kept = "SELECT tags, audit FROM prediction ORDER BY prediction_id"
    assert monitored.rows(kept) == [('{"site": "A", "ward": "3"}', 0.25), (None, None)]


def test_a_label_counts_in_the_same_slices_and_in_its_true_class(monitored: MonitoredModel) -> None:
    monitored.serve(tagged(1, site="A")._replace(audit=0.25), make_row(2, confidence=0.6))
    monitored.label(label(1, "normal"), label(2))
    found = slices(monitored)
    for name in ("tag:site=A", "audit", "true:normal"):
        assert_same_sums(found[name].labeled, [(0.9, False)])
    assert_same_sums(found["predicted:pneumonia"].labeled, [(0.9, False), (0.6, True)])
    assert_same_sums(found["true:pneumonia"].labeled, [(0.6, True)])


def test_a_correction_between_wrong_classes_moves_only_the_true_class(
    ledger_url: str, clock: Clock
) -> None:
    with MonitoredModel(ledger_url, clock, card=make_card(classes=("a", "b", "c"))) as monitored:
        monitored.serve(make_row(1, predicted=0))
        monitored.label(label(1, "b"))
        monitored.label(label(1, "c"))
        found = slices(monitored)
        assert "true:b" not in found  # nothing is left over
        assert found["true:c"].labeled.total == 1
        assert_same_sums(found[""].labeled, [(0.9, False)])


def test_corrections_leave_no_row_that_counts_nothing(
    ledger_url: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not of a class that no label says any more, nor where another writer's row counts on."""
    shards = iter((0, 1))
    monkeypatch.setattr("monitoring.ledger.database.secrets.randbelow", lambda _: next(shards))
    with MonitoredModel(ledger_url, clock) as one, MonitoredModel(ledger_url, clock) as other:
        one.serve(*(tagged(n) for n in range(4)))
        said = ((one, "01", 0), (other, "2", 0), (other, "2", 1), (other, "3", 0), (one, "0", 1))
        for monitored, numbers, true in (*said, (one, "0123", 1), (other, "0123", 0)):
            monitored.label(*(label(int(n), CLASSES[true]) for n in numbers))
            for table in ("bin_day", "bin_total"):
                assert one.rows(f"SELECT * FROM {table} WHERE served = 0 AND n = 0") == []
        labeled = {name: sums.labeled.total for name, sums in slices(one).items()}
        assert labeled == {"": 4, "predicted:pneumonia": 4, f"true:{CLASSES[0]}": 4}


def test_values_beyond_the_limit_share_a_slice_and_stay_there(
    ledger_url: str, clock: Clock
) -> None:
    with MonitoredModel(ledger_url, clock) as monitored:
        monitored.serve(
            *(tagged(number, site=f"s{number:03}") for number in range(VALUE_LIMIT + 5))
        )
        assert slices(monitored)["tag:site=(other)"].served.sum() == 5
    with MonitoredModel(ledger_url, clock) as monitored:  # another process places them alike
        monitored.serve(
            tagged(1000, site="s000"), tagged(1001, site="s052"), tagged(1002, site="new")
        )
        assert monitored.label(label(VALUE_LIMIT + 1), label(1001)) == ["accepted"] * 2
        found = slices(monitored)
        assert found["tag:site=s000"].served.sum() == 2
        assert found["tag:site=(other)"].served.sum() == 7
        assert found["tag:site=(other)"].labeled.total == 2
        assert len([name for name in found if name.startswith("tag:site=")]) == VALUE_LIMIT + 1


def test_keys_beyond_the_limit_have_no_slice_but_stay_with_the_answer(
    monitored: MonitoredModel,
) -> None:
    monitored.serve(*(tagged(number, **{f"k{number:02}": "x"}) for number in range(KEY_LIMIT + 2)))
    assert len([name for name in slices(monitored) if name.startswith("tag:")]) == KEY_LIMIT
    assert monitored.rows(
        f"""SELECT count(*) FROM prediction WHERE tags = '{{"k{KEY_LIMIT + 1}": "x"}}'"""
    ) == [(1,)]


def test_a_value_admitted_in_an_undone_commit_is_admitted_again(monitored: MonitoredModel) -> None:
    bad = tagged(2, site="A")._replace(
        watched_version_id=monitored.watched_version_id, confidence=0.9
    )
    monitored.serve(make_row(2))
    with pytest.raises(IntegrityError):
        monitored.serve(tagged(1, site="A"), bad)  # the second id is taken: all of it is undone
    monitored.serve(tagged(1, site="A"))
    assert monitored.rows("SELECT key, value FROM tag_value") == [("site", "A")]
    assert slices(monitored)["tag:site=A"].served.sum() == 1


def test_days_and_slices_can_be_chosen(monitored: MonitoredModel) -> None:
    monitored.serve(make_row(1, served_at_ns=NOW_NS - 3 * DAY_NS), make_row(2))
    today = NOW_NS // DAY_NS
    asked: list[tuple[dict[str, Any], int]] = [
        *(({"since_day": today - ago}, served) for ago, served in ((3, 2), (2, 1), (-1, 0))),
        *(({"slice": f"predicted:{name}"}, n) for name, n in (("pneumonia", 2), ("nothing", 0))),
    ]
    with monitored.ledger.read() as connection:
        for chosen, served in asked:
            sums = read_sums(connection, monitored.watched_version_id, **chosen)
            assert sums.served.sum() == served, chosen


def test_sums_stay_exact_beyond_what_float64_adds_exactly(monitored: MonitoredModel) -> None:
    """Eight million answers of one bin: as float64, the last unit of 2^-32 would be lost."""
    with monitored.ledger.write() as connection:
        for confidence in (2**54, 2**54, 1):
            key = SumKey(monitored.watched_version_id, "", 1, 14)
            add_sums(connection, {key: [1, confidence, 0, 0, 0, 0, 0]})
    for table in ("bin_day", "bin_total"):
        assert monitored.rows(f"SELECT served_confidence FROM {table}") == [(2 * 2**54 + 1,)]
