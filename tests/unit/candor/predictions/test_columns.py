"""What columns are taken for, by the names that people give them."""

import pytest

from candor.predictions.columns import ColumnWishes, TableColumns, find_columns
from candor.predictions.errors import PredictionsRefused


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
