"""What Candor asks of the operating system."""

import os
import sys

import pytest

from model_store.errors import LinuxRequired
from model_store.installation import require_linux, usable_cores


@pytest.mark.parametrize("platform", ["darwin", "win32", "freebsd14"])
def test_other_systems_are_refused_by_name(monkeypatch: pytest.MonkeyPatch, platform: str) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    with pytest.raises(
        LinuxRequired, match=f"^candor serve needs Linux, and this system is {platform}"
    ):
        require_linux("candor serve")


def test_cores_are_those_of_this_process_and_where_that_is_not_told_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 7})
    assert usable_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert usable_cores() == 8
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores() == 1
