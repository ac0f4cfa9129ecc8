"""The list of replicas forgets who is silent."""

from serving.cluster.metric_targets import KEPT_S, Directory


def test_who_reports_is_listed_until_it_withdraws_or_is_silent() -> None:
    directory = Directory(restarted=False, now_s=0)
    assert directory.addresses(now_s=0) == []
    for address in ("b:1", "a:1", "c:1"):
        directory.report(address, now_s=1)
    directory.report("a:1", now_s=1 + KEPT_S)
    directory.withdraw("b:1")
    directory.withdraw("never:1")
    assert directory.addresses(now_s=1 + KEPT_S) == ["a:1", "c:1"]
    assert directory.addresses(now_s=1 + KEPT_S + 0.1) == ["a:1"]
