"""Spans of what becomes of an image, within the trace of its request (CANDOR_TRACES): decode,
queue, inference and commit, each with model and version.

The stages run in threads and for whole batches, so that a span is made when its stage is over.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from serving.inference.served_version import ServedVersion


class StageSpans:
    """Makes the spans; does nothing without `traces`."""

    def __init__(self, *, traces: bool) -> None:
        self._tracer: Any = None
        if traces:
            from opentelemetry.trace import get_tracer

            self._tracer = get_tracer("candor")

    @contextmanager
    def decoding(self, served: ServedVersion) -> Iterator[None]:
        """Add the span of what is decoded within it."""
        begun_s = time.perf_counter()
        try:
            yield
        finally:
            self.add(served, decode=(begun_s, time.perf_counter()))

    def add(self, served: ServedVersion, **stages: tuple[float, float]) -> None:
        """Add a span for each stage, which began and ended then by perf_counter."""
        if self._tracer is None:
            return
        offset_ns = time.time_ns() - time.perf_counter_ns()
        about = {"candor.model": served.card.name, "candor.version": served.card.version}
        for name, (start_s, end_s) in stages.items():
            begun_ns = offset_ns + round(start_s * 1e9)
            span = self._tracer.start_span(name, start_time=begun_ns, attributes=about)
            span.end(offset_ns + round(end_s * 1e9))
