"""Which field each column of an upload becomes, and tables whose labels are what the model said."""

from typing import Any

import numpy as np
import pytest

from monitoring.feedback.body import FIELDS as LABEL_FIELDS
from monitoring.logged.body import FIELDS
from serving.client.columns import ColumnsUnclear, ColumnWishes
from serving.client.upload_columns import (
    LabelsAreAnswers,
    label_columns,
    prediction_columns,
    require_truths,
)

NONE = ColumnWishes()


def test_the_documented_columns_are_sent_as_they_are_and_nothing_is_told() -> None:
    names = ["request_id", "predicted", "confidence", "label", "served_at", "tags"]
    found = prediction_columns(names, FIELDS, NONE)
    row = dict.fromkeys(names, "x")
    assert found.item(row) == row
    assert found.told() == []


def test_other_names_are_mapped_and_told() -> None:
    names = ["request_id", "prediction", "conf", "truth", "ward"]
    found = prediction_columns(names, FIELDS, NONE)
    assert found.item(dict(zip(names, "abcde", strict=True))) == {
        "request_id": "a",
        "predicted": "b",
        "confidence": "c",
        "label": "d",
    }
    assert found.told() == [
        "label: from the column 'truth'",
        "predicted: from the column 'prediction'",
        "confidence: from the column 'conf'",
        "not sent: ward",
    ]


def test_columns_of_classes_become_probabilities_if_they_are_needed() -> None:
    found = prediction_columns(["request_id", "p_no", "p_yes", "label"], FIELDS, NONE)
    row = {"request_id": "1", "p_no": "0.25", "p_yes": "0.75", "label": "no"}
    assert found.item(row) == {
        "request_id": "1",
        "label": "no",
        "probabilities": {"no": 0.25, "yes": 0.75},
    }
    assert found.told() == ["probabilities: from p_no, p_yes"]
    beside = prediction_columns(
        ["request_id", "predicted", "confidence", "p_no", "p_yes"], FIELDS, NONE
    )
    assert "probabilities" not in beside.item(row | {"predicted": "yes", "confidence": "0.75"})


def test_the_exact_name_comes_before_one_that_resembles_it() -> None:
    found = prediction_columns(
        ["request_id", "predicted", "prediction", "confidence", "label", "class"], FIELDS, NONE
    )
    assert (found.columns.label, found.columns.predicted) == ("label", "predicted")
    assert found.told() == ["not sent: prediction, class"]


def test_a_field_that_only_later_rows_have_is_sent() -> None:
    found = prediction_columns(["request_id", "predicted", "confidence"], FIELDS, NONE)
    row = {"request_id": "1", "predicted": "a", "confidence": 0.5, "label": "b", "remark": "c"}
    assert found.item(row) == {"request_id": "1", "predicted": "a", "confidence": 0.5, "label": "b"}


@pytest.mark.parametrize("mark", ["refer", "prediction_set"])
def test_the_label_of_an_answer_is_sent_as_the_prediction(mark: str) -> None:
    names = ["prediction_id", "label", "confidence", mark]
    found = prediction_columns(names, FIELDS, NONE)
    sent = found.item({"prediction_id": "1", "label": "ill", "confidence": 0.9, mark: True})
    assert sent == {"prediction_id": "1", "predicted": "ill", "confidence": 0.9}
    with pytest.raises(
        LabelsAreAnswers, match=r"'label' is the prediction\. Add a column with the true class"
    ):
        label_columns(names, LABEL_FIELDS, NONE)
    assert (
        label_columns([*names, "truth"], LABEL_FIELDS, ColumnWishes(label="truth")).sources["label"]
        == "truth"
    )


def test_a_label_with_a_confidence_alone_may_be_either() -> None:
    with pytest.raises(ColumnsUnclear, match=r"true class or the prediction.*--predicted label"):
        prediction_columns(["request_id", "label", "confidence"], FIELDS, NONE)
    told = prediction_columns(
        ["request_id", "label", "confidence"], FIELDS, ColumnWishes(predicted="label")
    )
    assert told.item({"request_id": 1, "label": "a", "confidence": 1}) == {
        "request_id": 1,
        "predicted": "a",
        "confidence": 1,
    }


def rows(*, right: int, n: int = 100, confidence: float = 0.9) -> list[dict[str, Any]]:
    return [
        {
            "label": "a" if k < right else "b",
            "probabilities": {"a": confidence, "b": 1 - confidence},
        }
        for k in range(n)
    ]


def test_labels_that_are_always_the_prediction_are_refused_if_that_is_implausible() -> None:
    columns = prediction_columns(["label", "probabilities"], FIELDS, NONE).columns
    with pytest.raises(
        LabelsAreAnswers, match=r"'label' is the predicted class in all 100 rows.*90\.0 %"
    ):
        require_truths(rows(right=100), columns)
    require_truths(rows(right=99), columns)
    require_truths(rows(right=100, confidence=0.999), columns)
    require_truths(rows(right=20, n=20), columns)
    require_truths([{"probabilities": {"a": 1.0}}] * 50, columns)


def test_a_calibrated_model_is_hardly_ever_refused() -> None:
    """2,000 tables of 60 labels, drawn as sure as the model says."""
    columns = prediction_columns(["label", "predicted", "confidence"], FIELDS, NONE).columns
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(2_000):
        sure = rng.uniform(0.8, 1.0, 60)
        table = [
            {"label": "a" if right else "b", "predicted": "a", "confidence": str(p)}
            for p, right in zip(sure, rng.random(60) < sure, strict=True)
        ]
        try:
            require_truths(table, columns)
        except LabelsAreAnswers:
            refused += 1
    assert refused <= 6  # 1 in 1,000 at most


@pytest.mark.parametrize(
    "row",
    [
        {"label": "a", "probabilities": '{"a": 0.5, "b": 0.5}'},
        {"label": "a", "probabilities": "[0.5, 0.5]"},
        {"label": "a", "probabilities": "{"},
        {"label": "a", "probabilities": {"a": "x"}},
        {"label": "a"},
        {"label": None},
    ],
)
def test_rows_that_cannot_be_compared_are_passed_over(row: dict[str, Any]) -> None:
    columns = prediction_columns(["label", "probabilities"], FIELDS, NONE).columns
    require_truths([row] * 5, columns)


def test_columns_of_labels_are_told() -> None:
    found = label_columns(["file", "truth", "source", "remark"], LABEL_FIELDS, NONE)
    assert found.columns.label == "truth"
    assert found.told() == ["label: from the column 'truth'", "not sent: remark"]
    mine = [
        "file",
        "prediction_id",
        "request_id",
        "model",
        "version",
        "predicted",
        "confidence",
        "refer",
        "error",
    ]
    assert (
        label_columns([*mine, "label", "probability a", "probability b"], LABEL_FIELDS, NONE).told()
        == []
    )
