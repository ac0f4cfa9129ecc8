"""The list of what a store holds: one entry a version, also for those whose card cannot be read."""

from functools import partial
from pathlib import Path

from model_store.bundle.bundle import CARD_FILE
from model_store.store.catalog import catalog
from model_store.store.store import Store
from tests.builders.bundles import build_bundle
from tests.builders.findings import publish_findings


def test_each_version_is_listed_with_its_cards_figures(tiny_store: Store) -> None:
    tiny_store.publish("tiny", partial(build_bundle, temperature=2.0))
    tiny_store.publish("other", partial(build_bundle, name="other"))
    entries = catalog(tiny_store)
    assert [(entry.name, entry.version, entry.production) for entry in entries] == [
        ("other", 1, False),
        ("tiny", 1, True),
        ("tiny", 2, False),
    ]
    assert [entry.temperature for entry in entries] == [1.5, 1.5, 2.0]
    first, measures = entries[1], tiny_store.read("tiny").card.calibration.measures
    assert (first.dataset, first.loss, first.reference) == ("generated", "ce", "val")
    assert first.created_at == "2026-01-01T00:00:00+00:00"
    assert (first.accuracy, first.ece, first.noise_floor) == tuple(
        measures[key] for key in ("accuracy", "ece", "noise_floor")
    )
    assert first.problem is None


def test_the_share_present_of_findings_is_not_listed_as_accuracy(tmp_path: Path) -> None:
    store = publish_findings(tmp_path)
    (entry,) = catalog(store)
    assert entry.ece is not None
    assert (entry.accuracy, entry.temperature) == (None, None)


def test_a_card_that_cannot_be_read_is_listed_with_the_reason(tiny_store: Store) -> None:
    tiny_store.publish("tiny", build_bundle)
    (tiny_store.folder("tiny", 1) / CARD_FILE).unlink()
    (tiny_store.folder("tiny", 2) / CARD_FILE).write_text("{}")
    missing, empty = catalog(tiny_store)
    assert missing.problem
    assert missing.production
    assert empty.problem
    assert empty.ece is None
