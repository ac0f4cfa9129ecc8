"""A label names the class that it means."""

import json
from unicodedata import normalize

from monitoring.ledger.watched_version import WatchedVersion


def test_accents_that_a_mac_decomposes_are_the_same_class() -> None:
    composed, decomposed = (normalize(form, "Fibröse") for form in ("NFC", "NFD"))
    for served, labeled in ((composed, decomposed), (decomposed, composed)):
        card = json.dumps({"classes": ["Polyp", served]})
        row = WatchedVersion(1, "polyps", 1, "0" * 64, "", card, 0, None)
        assert row.label_index(labeled) == row.label_index(served) == 1
        assert row.label_index("Fibrose") is None
