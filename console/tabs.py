"""The tabs of a model: its pages in this process that the reader may open."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from console.formatting import (
    answers_path,
    label_path,
    page_path,
    report_path,
    slices_path,
    try_path,
    versions_path,
)
from model_store.errors import ModelStoreError
from model_store.store.store import Store
from monitoring.http.endpoint import Viewer


class Tab(NamedTuple):
    """A tab and its address; `is_here`: of the page that is open."""

    name: str
    address: str
    is_here: bool


def never(_model: str) -> bool:
    """Of a process that answers no images."""
    return False


@dataclass(frozen=True)
class Tabs:
    """What this process has of a model.

    Attributes:
        store: whose versions can be acted on; None if there is none.
        has_labels: whether it keeps labels, and so has pages about them.
        tries: whether it answers images with the model of this name.
    """

    store: Store | None = None
    has_labels: bool = True
    tries: Callable[[str], bool] = never

    def stored(self) -> set[str]:
        """The models of the store; none while it cannot be read."""
        try:
            return set(self.store.models()) if self.store else set()
        except (ModelStoreError, OSError):
            return set()

    def of(self, model: str, viewer: Viewer, here: str, *, query: str = "") -> list[Tab]:
        """The tabs of a model. `query`: version and finding, for pages that have them."""
        asked = f"?{query}" if query else ""
        return [
            Tab(name, address + asked * has_query, name == here)
            for name, address, has_query in self._pages(model, viewer)
        ]

    def _pages(self, model: str, viewer: Viewer) -> Iterator[tuple[str, str, bool]]:
        tries, reads = self.tries(model), viewer.may("read")
        labels = self.has_labels and reads
        if labels:
            yield "Overview", page_path(model), True
        if self.has_labels and viewer.may("feedback"):
            yield "Cases", answers_path(model), True
        if labels:
            yield "Slices", slices_path(model), True
        if reads and (tries or model in self.stored()):
            yield "Versions", versions_path(model), False
        if tries and viewer.may("predict"):
            yield "Try", try_path(model), False
        if self.has_labels and viewer.may("feedback"):
            yield "Label", label_path(model), True
        if labels:
            yield "Report", report_path(model), True
