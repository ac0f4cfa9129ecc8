"""An answer as cells of a table, by the columns' names: of exclusive classes, or of findings.

A column of one class or finding is named by what it holds and the name, such as `probability
Edema`, so that labels, whose columns have the bare names, fit beside them.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from model_store.bundle.card import Card

OF_SCOPE = {"scope": "string", "scope_p": "float32"}
OF_CLASSES = ("predicted", "confidence", "refer", "prediction_set", "calibrator")


def cells(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The cells of an answer of POST /predictions, or of an answer as a dict; others stay."""
    given = dict(answer)
    for name, probability in (given.pop("probabilities", None) or {}).items():
        given[column("probability", name)] = probability
    if (findings := given.pop("findings", None)) is not None:
        given |= dict(_of_findings(findings))
    return given


def columns_of(card: Card) -> dict[str, str]:
    """The columns of a card's answers, each with the name of its type in Arrow."""
    same, own = _COLUMNS[card.kind](card)
    return same | (OF_SCOPE if card.scope else {}) | own


def _columns_of_classes(card: Card) -> tuple[dict[str, str], dict[str, str]]:
    known = {"confidence": "float32", "refer": "bool", "prediction_set": "list"}
    same = {name: known.get(name, "string") for name in OF_CLASSES}
    return same, {column("probability", name): "float32" for name in card.classes}


def _columns_of_findings(card: Card) -> tuple[dict[str, str], dict[str, str]]:
    own: dict[str, str] = {}
    for each in card.asked:
        own |= {column("probability", each.name): "float32", column("present", each.name): "bool"}
        if each.conformal is not None:
            own |= {column("refer", each.name): "bool", column("prediction_set", each.name): "list"}
    return {"calibrator": "string"}, own


_COLUMNS: Final = {"classes": _columns_of_classes, "findings": _columns_of_findings}


def column(what: str, name: str) -> str:
    return f"{what} {name}"


def _of_findings(findings: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, Any]]:
    for name, finding in findings.items():
        for what in ("probability", "present", "refer", "prediction_set"):
            if finding.get(what) is not None:
                yield column(what, name), finding[what]
    chosen = {name: each.get("calibrator") for name, each in findings.items()}
    said = "; ".join(f"{name}: {tags}" for name, tags in chosen.items() if tags)
    yield "calibrator", said or None
