"""The table that turns errors into status, code and sentence."""

import pytest

from model_store import errors as store_errors
from serving import errors
from serving.errors import INTERNAL, STATUS, Overloaded, UnknownModel, UnknownVersion, failure


def test_the_most_special_class_decides() -> None:
    failed = failure(errors.BodyTooLarge(limit_bytes=10, got_bytes=11))
    assert (failed.status, failed.code) == (413, "body_too_large")
    assert "11 bytes; at most 10 bytes" in failed.detail


def test_an_unexpected_error_says_nothing_of_itself() -> None:
    assert failure(KeyError("secret")) is INTERNAL
    assert "secret" not in INTERNAL.detail


def test_codes_are_unique_and_only_our_own_bugs_are_a_500() -> None:
    assert len({code for _, code in STATUS.values()}) == len(STATUS)
    assert [kind for kind, (status, _) in STATUS.items() if status == 500] == [errors.InferenceFailed]


def test_every_image_error_is_in_the_table() -> None:
    assert [kind for kind in store_errors.ImageError.__subclasses__() if kind not in STATUS] == []


@pytest.mark.parametrize(("clears_s", "seconds"), [(0.01, 1), (0.9, 1), (3.2, 4), (10.0, 10)])
def test_retry_after_is_when_the_queue_will_be_short_again(clears_s: float, seconds: int) -> None:
    assert Overloaded(wait_s=11.0, deadline_s=1.0, clears_s=clears_s).retry_after_s == seconds


def test_what_is_unknown_is_answered_with_what_is_known() -> None:
    assert "loaded models: a, b" in str(UnknownModel("c", known=["b", "a"]))
    assert "loaded versions: 3, 2" in str(UnknownVersion("m", "9", known=[3, 2]))
    assert len(str(UnknownModel("x" * 10**6, known=[]))) < 300
