"""A query is read as its type says, and refused in a sentence that says what was expected."""

import pytest

from monitoring.errors import QueryInvalid
from monitoring.http.query import parameters_of, read_query
from monitoring.routes.queries import AnswersQuery, ReportQuery, WaitingQuery


def test_what_is_left_out_has_its_default() -> None:
    assert read_query({}, WaitingQuery) == WaitingQuery(version=None, queue="usual", skip=0)
    asked = read_query({"version": "7", "gap": "0.03", "finding": "null"}, ReportQuery)
    assert asked == ReportQuery(version=7, gap=0.03, finding="null")
    assert {"from", "to", "limit"} <= {*parameters_of(AnswersQuery)}


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("version", ["", "0", "-1", "1.0", "1e3", "+3", "03", "null", "9" * 400, "٣"], "a whole"),
        ("finding", ["", "\0"], "text"),
        ("gap", ["", "nan", "inf", "0.001", "1_0", "null"], "a number from"),
        ("queue", ["", "null", "first"], "doubtful or random or usual"),
        ("skip", ["-1", "100001"], "a whole number from 0 to 100,000"),
        ("wrong", ["", "2", "yes"], "0 or 1"),
        ("audit", ["0", "true"], "must be 1"),
        ("before", ["", "x"], "the UUID of an answer"),
        ("limit", ["0", "501"], "a whole number from 1 to 500"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(
    name: str, values: list[str], expected: str
) -> None:
    kinds = (ReportQuery, WaitingQuery, AnswersQuery)
    kind = next(kind for kind in kinds if name in parameters_of(kind))
    for value in values:
        with pytest.raises(QueryInvalid, match=name) as refused:
            read_query({name: value}, kind)
        assert expected in str(refused.value), value
