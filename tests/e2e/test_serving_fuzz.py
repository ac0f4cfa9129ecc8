"""Broken requests get their 4xx; `make soak` sends more of them."""

import os
from pathlib import Path

from tests.soak.fuzz import fuzz

REQUESTS = int(os.environ.get("FUZZ_REQUESTS", "500"))


def test_broken_requests_get_their_4xx_and_harm_nobody(tmp_path: Path) -> None:
    outcome = fuzz(tmp_path, requests=REQUESTS, seed=1)
    assert set(outcome.statuses) >= {200, 400, 404, 405, 415, 422}
    assert outcome.statuses[0] < REQUESTS / 20
