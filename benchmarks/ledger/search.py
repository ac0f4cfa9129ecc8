"""The cost of pages of answers, from filters that match everywhere to those that match nothing."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import parse_qsl
from uuid import UUID

import numpy as np

from benchmarks.ledger.large import build
from benchmarks.ledger.writer import MODEL
from monitoring.ledger import Ledger
from monitoring.ledger.versions import choose, models
from monitoring.reports.answers import list_answers
from monitoring.routes.answers import read_filter
from monitoring.routes.queries import PAGE, AnswerFilter

PAGES: Final = 4
REPEATS: Final = 5
FILTERS: Final = (
    *("", "site=s07", "wrong=1", "wrong=1&site=s07", "labeled=0", "bin=0.87-0.93&site=s07&wrong=1"),
    *("predicted=pneumonia&label=normal", "predicted=normal", "site=s07&label=normal"),
    *("doubtful=1", "doubtful=1&site=s07&wrong=1", "others=1&site=s07", "others=1&bin=0.5-1"),
    *("from={day}&to={day}", "from={day}&to={day}&site=s07&wrong=1", "from={day}&doubtful=1"),
    *("bin=0.9-0.9001&site=s07", "bin=0.9-0.9001&wrong=1&site=s07", "site=nowhere", "bin=0-0.07"),
)


def search_times(url: str, count: int) -> Iterator[str]:
    """Fill the ledger if it is empty, and time pages of each filter."""
    with Ledger(url) as ledger:
        with ledger.read() as connection:
            is_empty = not models(connection)
        if is_empty:
            build(url, count)
        every: list[float] = []
        day = datetime.now(UTC).date() - timedelta(100)
        for query in (each.format(day=day) for each in FILTERS):
            taken = [ms for _ in range(REPEATS) for ms in _pages_ms(ledger, query)]
            every += taken
            yield f"{query or 'all answers'}: {np.median(taken):.0f} ms, at most {max(taken):.0f}"
        yield f"95th percentile of all: {np.quantile(every, 0.95):.0f} ms"


def _pages_ms(ledger: Ledger, query: str) -> Iterator[float]:
    wanted, before = read_filter(dict(parse_qsl(query)), AnswerFilter).answers, None
    for _ in range(PAGES):
        began_s = time.perf_counter()
        with ledger.read() as connection:
            row = choose(connection, MODEL.model)
            page = list_answers(connection, row, wanted, before=before, limit=PAGE)
        yield 1e3 * (time.perf_counter() - began_s)
        if page.before is None:
            return
        before = UUID(page.before).bytes
