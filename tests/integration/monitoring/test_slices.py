"""Answers are counted in few slices, whatever callers send, and labels move with them."""

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from monitoring.ledger.predictions import PredictionRow
from monitoring.ledger.sum_tables import COUNTS, KEY_LIMIT, UNITS, VALUE_LIMIT, SumKey, add_sums
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


def test_a_correction_moves_the_true_class_and_everything_else_by_the_difference(
    monitored: MonitoredModel,
) -> None:
    monitored.serve(tagged(1, site="A"))
    monitored.label(label(1, "normal"))
    monitored.label(label(1))
    found = slices(monitored)
    for name in ("", "predicted:pneumonia", "tag:site=A", "true:pneumonia"):
        assert_same_sums(found[name].labeled, [(0.9, True)])
    assert "true:normal" not in found  # nothing is left over


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


def test_sums_do_not_depend_on_how_answers_shared_commits(tmp_path: Path, clock: Clock) -> None:
    rows = [make_row(number, confidence=0.5 + (number * 37 % 500) / 1001) for number in range(200)]
    with (
        MonitoredModel(tmp_path / "one.db", clock) as one,
        MonitoredModel(tmp_path / "other.db", clock) as other,
    ):
        one.serve(*rows)
        one.label(*(label(number) for number in range(200)))
        for row in reversed(rows):
            other.serve(row)
        for start in range(0, 200, 7):
            other.label(*(label(number) for number in range(start, min(start + 7, 200))))
        for everything in (
            "SELECT * FROM bin_day ORDER BY 1, 2, 3, 4",
            "SELECT * FROM bin_total ORDER BY 1, 2, 3",
        ):
            assert one.rows(everything) == other.rows(everything)  # to the bit


def test_totals_are_the_days_put_together(monitored: MonitoredModel) -> None:
    monitored.serve(
        *(
            tagged(n, confidence=0.5 + n / 100, served_days=n % 3, site="AB"[n % 2])
            for n in range(40)
        )
    )
    for count, shift in ((30, 0), (9, 1)):
        monitored.label(
            *(
                label(n, CLASSES[(n + shift) % 2], at_ns=NOW_NS - n % 3 * DAY_NS)
                for n in range(count)
            )
        )
    with monitored.ledger.read() as connection:
        totals = read_slices(connection, monitored.watched_version_id)
        days = read_slices(connection, monitored.watched_version_id, since_day=0)
        later = read_slices(
            connection, monitored.watched_version_id, since_day=NOW_NS // DAY_NS - 1
        )
    assert int(totals[""].served.sum()) == 40
    assert totals[""].labeled.total == 30
    assert int(later[""].served.sum()) == 27
    assert (
        totals.keys()
        == days.keys()
        == {
            "",
            "predicted:pneumonia",
            *(f"true:{name}" for name in CLASSES),
            *(f"tag:site={name}" for name in "AB"),
        }
    )
    names = ("served", "served_confidence", "n", "confidence", "squared_error")
    added = ", ".join(f"sum({name}) / {1 if name in COUNTS else UNITS}" for name in names)
    by_day = f"SELECT slice, bin, {added} FROM bin_day GROUP BY 1, 2"
    for name, bin_number, *sums in monitored.rows(by_day):
        found, labeled = totals[name], totals[name].labeled
        columns = (
            *(found.served, found.served_confidence),
            *(labeled.n, labeled.confidence, labeled.squared_error),
        )
        assert [column[bin_number] for column in columns] == [float(value) for value in sums]


def test_sums_stay_exact_beyond_what_float64_adds_exactly(monitored: MonitoredModel) -> None:
    """Eight million answers of one bin: as float64, the last unit of 2^-32 would be lost."""
    with monitored.ledger.write() as connection:
        for confidence in (2**54, 2**54, 1):
            key = SumKey(monitored.watched_version_id, "", 1, 14)
            add_sums(connection, {key: [1, confidence, 0, 0, 0, 0, 0]})
    for table in ("bin_day", "bin_total"):
        assert monitored.rows(f"SELECT served_confidence FROM {table}") == [(2 * 2**54 + 1,)]


def test_a_promotion_is_noted_once_for_all_replicas(monitored: MonitoredModel) -> None:
    first = monitored.watched_version_id
    (other,) = monitored.recorder.register(make_card(version=2))
    for watched_version_id in (first, first, other, other, first):
        monitored.recorder.promote(watched_version_id).result()
    noted = "SELECT watched_version_id FROM monitor_event WHERE kind = 'promoted' ORDER BY event_id"
    assert monitored.rows(noted) == [(first,), (other,), (first,)]
