"""What columns are taken for, by the names that people give them."""

import pytest

from candor.predictions.columns import ColumnWishes, TableColumns, find_columns
from candor.predictions.errors import ColumnsUnclear


def classes(found: TableColumns) -> list[str]:
    return [each.name for each in found.scores]


def test_names_of_people() -> None:
    for header, label, names, kind in [
        ("file,p_normal,p_pneumonia,label", "label", ["normal", "pneumonia"], None),
        ("prob_0,prob_1,prob_2,y_true", "y_true", ["0", "1", "2"], None),
        (
            "probability no finding,probability ill,True Label",
            "True Label",
            ["no finding", "ill"],
            None,
        ),
        ("Truth,logit.0,logit.1", "Truth", ["0", "1"], "logits"),
        ("target,normal_prob,ill_prob", "target", ["normal", "ill"], None),
        ("gt,p0,p1,p2", "gt", ["0", "1", "2"], None),
        ("class,softmax[0],softmax[1]", "class", ["0", "1"], None),
        ("label,0,1", "label", ["0", "1"], None),
        ("label,logit_a,logit_b,prob_a,prob_b", "label", ["a", "b"], None),
        ("diagnosis,y_prob", "diagnosis", [""], None),
        ("label,p_ill", "label", ["ill"], None),
        ("label,pred_0,pred_1", "label", ["0", "1"], None),
    ]:
        found = find_columns(header.split(","))
        assert (found.label, classes(found), found.kind) == (label, names, kind)


def test_columns_that_are_called_like_labels_are_scores() -> None:
    names = ["image", "normal", "pneumonia", "age", "label"]
    assert classes(find_columns(names)) == []
    found = find_columns(names, labels=["normal", "pneumonia"])
    assert (classes(found), found.ids, found.unused) == (
        ["normal", "pneumonia"],
        ("image",),
        ("age",),
    )


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (
            "truth,diagnosis,p_a,p_b",
            "'truth', 'diagnosis' could each be the true label: name it with --label COLUMN",
        ),
        ("label,prob,score", "'prob', 'score' could each be a probability"),
        ("label,pred,y_pred,conf", "predicted class: name it with --predicted"),
    ],
)
def test_what_is_open_is_refused_with_the_option(header: str, said: str) -> None:
    with pytest.raises(ColumnsUnclear, match=said):
        find_columns(header.split(","))


def test_wishes_decide() -> None:
    names = ["label", "diagnosis", "p_a", "p_b", "q_a", "q_b"]
    found = find_columns(names, ColumnWishes(label="diagnosis", scores="q_*"))
    assert (found.label, [each.column for each in found.scores]) == ("diagnosis", ["q_a", "q_b"])
    assert "label" in found.unused
    with pytest.raises(
        ColumnsUnclear, match="--label truth: there is no such column; the table has 'label', 'diag"
    ):
        find_columns(names, ColumnWishes(label="truth"))
    with pytest.raises(ColumnsUnclear, match=r"no column is 'r_\*'"):
        find_columns(names, ColumnWishes(label="label", scores="r_*"))
