"""Refusals of access are paced by address, within a bounded memory."""

from serving.http.access_refusals import ADDRESSES, AccessRefusals


def test_an_address_waits_for_its_own_refusals_alone() -> None:
    refusals = AccessRefusals()
    waits_s = [round(refusals._wait_s("a", 100.0), 1) for _ in range(70)]
    assert [each <= 0 for each in waits_s[:12]] == [True] * 11 + [False]
    assert max(waits_s) == waits_s[-1] == 5.1  # and stays there: it is refused at once
    assert refusals._wait_s("b", 100.0) < 0
    assert refusals._wait_s("a", 106.0) <= 0


def test_addresses_without_end_share_a_pace() -> None:
    refusals = AccessRefusals()
    waits_s = [refusals._wait_s(str(number), 100.0) for number in range(3 * ADDRESSES)]
    assert len(refusals._due_s) == ADDRESSES + 1
    assert max(waits_s) > 5
    assert refusals._wait_s("new", 200.0) < 0
    assert len(refusals._due_s) == 1
