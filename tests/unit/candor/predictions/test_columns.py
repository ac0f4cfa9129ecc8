"""What columns are taken for, and the field that each column of an upload becomes."""

import pytest

from candor.predictions.columns import ColumnWishes, TableColumns, find_columns
from candor.predictions.errors import PredictionsRefused
from candor.predictions.upload_columns import label_columns, prediction_columns
from monitoring.feedback.body import FIELDS as LABEL_FIELDS
from monitoring.logged.body import FIELDS


def classes(found: TableColumns) -> list[str]:
    return [each.name for each in found.scores]


def test_the_contract() -> None:
    for header, label, names, kind in [
        ("file,p_normal,p_pneumonia,label", "label", ["normal", "pneumonia"], None),
        ("prob_0,prob_1,prob_2,Label", "Label", ["0", "1", "2"], None),
        ("label,logit_a,logit_b", "label", ["a", "b"], "logits"),
        ("label,probability a,probability b", "label", ["a", "b"], None),  # of `candor predict`
        ("labels,logits", "labels", [""], "logits"),
        ("label,prob", "label", [""], None),
        ("label,p_ill", "label", ["ill"], None),
        ("label,score_a,score_b,truth", "label", [], None),
    ]:
        found = find_columns(header.split(","))
        assert (found.label, classes(found), found.kind) == (label, names, kind)


def test_labels_may_have_a_column_each() -> None:
    for header in ("p_Edema,p_Mass,label_Edema,label_Mass", "p_Edema,p_Mass,Edema,Mass"):
        found = find_columns(header.split(","))
        assert [each.name for each in found.one_hot] == classes(found) == ["Edema", "Mass"]
    assert find_columns(["prob_ill", "ill"]).label == "ill"


def test_columns_that_are_called_like_labels_are_scores() -> None:
    names = ["image", "normal", "pneumonia", "age", "label"]
    assert classes(find_columns(names)) == []
    found = find_columns(names, labels=["normal", "pneumonia"])
    assert (classes(found), found.ids, found.unused) == (
        ["normal", "pneumonia"],
        ("image",),
        ("age",),
    )


@pytest.mark.parametrize("header", ["label,prob_a,p_a", "label,prob,probabilities", "p_a,logit_a"])
def test_two_sets_of_scores_are_refused_with_the_option(header: str) -> None:
    with pytest.raises(PredictionsRefused, match="could each be the scores"):
        find_columns(header.split(","))


def test_wishes_decide() -> None:
    names = ["label", "diagnosis", "p_a", "p_b", "q(a)", "q(b)"]
    found = find_columns(names, ColumnWishes(label="diagnosis", scores="q(*)"))
    assert (found.label, classes(found)) == ("diagnosis", ["a", "b"])
    assert "label" in found.unused
    assert classes(find_columns(names, ColumnWishes(scores="p_b,p_a"))) == ["b", "a"]
    with pytest.raises(PredictionsRefused, match="no column 'truth'; the table has 'label', 'diag"):
        find_columns(names, ColumnWishes(label="truth"))
    with pytest.raises(PredictionsRefused, match=r"no column is 'r_\*'"):
        find_columns(names, ColumnWishes(label="label", scores="r_*"))


NONE = ColumnWishes()


def test_the_documented_columns_are_sent_as_they_are_and_nothing_is_told() -> None:
    names = ["request_id", "predicted", "confidence", "label", "served_at", "tags"]
    found = prediction_columns(names, FIELDS, NONE)
    row = dict.fromkeys(names, "x")
    assert found.item(row) == row
    assert found.told() == []


def test_other_names_are_mapped_and_told() -> None:
    names = ["request_id", "prediction", "conf", "truth", "ward"]
    wishes = ColumnWishes(label="truth", predicted="prediction", confidence="conf")
    found = prediction_columns(names, FIELDS, wishes)
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


def test_a_confidence_needs_the_class_that_it_is_of() -> None:
    with pytest.raises(PredictionsRefused, match="--predicted"):
        prediction_columns(["request_id", "label", "confidence"], FIELDS, NONE)
    told = prediction_columns(
        ["request_id", "label", "confidence"], FIELDS, ColumnWishes(predicted="label")
    )
    assert told.item({"request_id": 1, "label": "a", "confidence": 1}) == {
        "request_id": 1,
        "predicted": "a",
        "confidence": 1,
    }


def test_columns_of_labels_are_told() -> None:
    names = ["file", "truth", "source", "remark"]
    found = label_columns(names, LABEL_FIELDS, ColumnWishes(label="truth"))
    assert found.columns.label == "truth"
    assert found.told() == ["label: from the column 'truth'", "not sent: remark"]
    mine = "file prediction_id request_id model version predicted confidence refer error label"
    names = [*mine.split(), "probability a", "probability b"]
    assert label_columns(names, LABEL_FIELDS, NONE).told() == []


FINDINGS = ("Edema", "Pleural Effusion")


def test_columns_of_findings_become_findings_and_labels() -> None:
    for scores, labels in [
        (("p_Edema", "p_Pleural Effusion"), ("Edema", "Pleural Effusion")),
        (("probability Edema", "probability Pleural Effusion"), ("Edema", "Pleural Effusion")),
        (("Pleural Effusion", "Edema"), ("label_Edema", "label_Pleural Effusion")),
    ]:
        names = ["request_id", "Hernia", *scores, *labels]
        found = prediction_columns(names, FIELDS, NONE, findings=FINDINGS)
        cells = {each: "0.75" if "dema" in each else "0.25" for each in scores}
        row = {"request_id": "1"} | cells | {labels[0]: "1"}  # a blank cell is not there
        assert found.item(row) == {
            "request_id": "1",
            "findings": {"Edema": 0.75, "Pleural Effusion": 0.25},
            "labels": {"Edema": "1"},
        }


def test_rows_of_one_finding_are_sent_as_an_export_has_them() -> None:
    names = ["request_id", "finding", "confidence", "label"]
    found = prediction_columns(names, FIELDS, NONE, findings=FINDINGS)
    row = dict(zip(names, ("1", "Edema", "0.7", "present"), strict=True))
    assert found.item(row) == row


def test_a_column_of_labels_is_sent_once() -> None:
    found = prediction_columns(["request_id", "p_no", "p_yes", "labels"], FIELDS, NONE)
    row = {"request_id": "1", "p_no": "0.25", "p_yes": "0.75", "labels": "no"}
    assert found.item(row)["label"] == "no"
    assert "labels" not in found.item(row)
    by_name = label_columns(["request_id", "labels"], LABEL_FIELDS, NONE)
    assert by_name.item({"request_id": "1", "labels": {"Edema": 1}})["labels"] == {"Edema": 1}
