"""Sentences of this room name options, as for a reader who types commands."""

from collections.abc import Iterator

import pytest

from calibration.wording import typed


@pytest.fixture(autouse=True)
def typing() -> Iterator[None]:
    with typed():
        yield
