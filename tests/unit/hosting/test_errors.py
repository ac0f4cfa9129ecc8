"""The table that turns errors into status, code and sentence."""

import asyncio
import json
import logging
import sys

import pytest
from starlette.exceptions import HTTPException

from hosting import errors
from hosting.error_table import (
    ERRORS,
    INTERNAL,
    PREDICTION_ERRORS,
    ErrorAnswer,
    error_answer,
    log_error,
)
from hosting.errors import ModelNotLoaded, Overloaded, Unauthorized, VersionNotLoaded
from hosting.logs import JsonLines
from hosting.paced_lines import LINES, PacedLines, flush_lines
from model_store import errors as store_errors
from monitoring.errors import (
    BodyTooLarge,
    ItemsRejected,
    LabelUnknown,
    MonitoringError,
    NotRegistered,
    PendingFull,
)


def test_the_most_special_class_decides() -> None:
    answer = error_answer(BodyTooLarge(limit_bytes=10, got_bytes=11, advice="Send less."))
    assert (answer.status, answer.code) == (413, "body_too_large")


@pytest.mark.parametrize("error", [KeyError("secret"), NotRegistered(3), MonitoringError("secret")])
def test_an_unexpected_error_says_nothing_of_itself(error: Exception) -> None:
    assert error_answer(error) is INTERNAL
    assert "secret" not in INTERNAL.detail


def test_codes_are_unique_and_only_our_own_bugs_are_a_500() -> None:
    assert len({code for _, code in PREDICTION_ERRORS.values()}) == len(PREDICTION_ERRORS)
    assert len({code for _, code in ERRORS.values()}) == len(set(ERRORS.values()))
    internal = [kind for kind, (status, _) in ERRORS.items() if status == 500]
    assert internal == [errors.InferenceFailed]
    assert {*store_errors.ImageError.__subclasses__()} <= ERRORS.keys()


def test_a_rejected_item_is_answered_by_its_cause_and_a_list_with_its_results() -> None:
    alone = error_answer(ItemsRejected(PendingFull, "full."))
    assert alone == ErrorAnswer(503, "too_many_pending", "full.")
    results = [{"status": "rejected"}]
    whole = error_answer(ItemsRejected(LabelUnknown, "no cat.", results=results))
    assert (whole.status, whole.code) == (422, "unknown_label")
    body = {"error": "unknown_label", "detail": whole.detail, "results": results}
    assert json.loads(whole.body()) == body


def test_headers_tell_a_client_what_to_do() -> None:
    overloaded = Overloaded(wait_s=11.0, deadline_s=1.0, clears_s=4.0)
    assert error_answer(overloaded).headers == ((b"retry-after", b"4"),)
    assert error_answer(Unauthorized("no")).headers == ((b"www-authenticate", b"Bearer"),)
    wrong = error_answer(HTTPException(405, headers={"Allow": "POST"}))
    assert (wrong.status, wrong.code) == (405, "method_not_allowed")
    assert wrong.headers == ((b"allow", b"POST"),)


def test_what_is_unknown_is_answered_with_what_is_known() -> None:
    assert "loaded models: a, b" in str(ModelNotLoaded("c", known=["b", "a"]))
    assert "loaded versions: 3, 2" in str(VersionNotLoaded("m", "9", known=[3, 2]))
    assert len(str(ModelNotLoaded("x" * 10**6, known=[]))) < 300


@pytest.mark.parametrize(
    ("error", "level"),
    [(errors.LedgerFailed("disk full"), "WARNING"), (errors.MalformedRequest("no body"), "INFO")],
)
def test_what_the_server_could_not_answer_is_logged_above_info(
    error: errors.ServingError, level: str, caplog: pytest.LogCaptureFixture
) -> None:
    flush_lines()  # what earlier tests of this process held back
    caplog.set_level("INFO")
    log_error("/predictions/tiny", error_answer(error), error)
    assert [record.levelname for record in caplog.records] == [level]


def test_refusals_without_end_are_ten_lines_a_second_and_one_that_counts_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    lines = PacedLines(logging.getLogger(__name__), "refused")

    async def refuse() -> None:
        for number in range(25):
            lines.write({"number": number})
        assert len(caplog.records) == LINES
        lines._begun_s -= 1
        for number in range(25, 35):
            lines.write({"number": number})
        flush_lines()

    asyncio.run(refuse())
    last = [record.fields for record in caplog.records][LINES:]
    others = [{"number": number} for number in range(25, 34)]
    assert last == [{"number": 24, "count": 15}, *others, {"number": 34, "count": 1}]


def test_a_line_carries_its_fields_and_its_trace() -> None:
    record = logging.LogRecord("serving", logging.ERROR, "", 0, "bundle %s", ("refused",), None)
    record.fields = {"model": "m", "reason": 'with "quotes"\nand lines'}
    try:
        raise ValueError("why")
    except ValueError:
        record.exc_info = sys.exc_info()
    text = JsonLines().format(record)
    assert "\n" not in text
    line = json.loads(text)
    assert (line["level"], line["message"], line["model"]) == ("error", "bundle refused", "m")
    assert line["trace"].endswith("ValueError: why")
