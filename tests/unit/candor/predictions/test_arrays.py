"""`candor.measure` and `candor.calibrate` read the same arrays, and treat gaps alike."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import candor
from calibration.measures.summary import Measures
from tests.builders.answers import simulated

P, Y = simulated(0, rows=90, classes=3)
NAMES = ["normal", "viral", "bacterial"]
EXPECTED = Measures.from_probabilities(P, Y)
TWO, TRUE = simulated(1, rows=90)
OF_TWO = Measures.from_probabilities(TWO, TRUE)


class Polars:
    """As much of another library's data frame as is looked at."""

    columns = NAMES

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return P


def tensor(values: Any, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.tensor(values, dtype=dtype, requires_grad=True)


def test_measure_and_calibrate_read_every_array() -> None:
    for probabilities, labels, options, expected in [
        (P.tolist(), Y.tolist(), {}, EXPECTED),
        (tensor(P), torch.tensor(Y), {}, EXPECTED),
        (tensor(np.log(P) + 2), torch.tensor(Y), {"logits": True}, EXPECTED),
        (Polars(), np.array(NAMES, dtype=object)[Y], {}, EXPECTED),
        (pd.DataFrame(P, columns=NAMES), pd.Series(np.array(NAMES)[Y]), {}, EXPECTED),
        (
            pd.DataFrame(P, columns=NAMES),
            pd.Categorical(np.array(NAMES)[Y], categories=["viral", "normal", "bacterial"]),
            {},
            EXPECTED,
        ),
        (
            pd.DataFrame(P, columns=NAMES),
            pd.DataFrame(np.eye(3)[Y], columns=NAMES)[NAMES[::-1]],
            {},
            EXPECTED,
        ),
        (P, Y.astype(np.float32), {"classes": NAMES}, EXPECTED),
        (P.astype(object), np.eye(3, dtype=bool)[Y], {}, EXPECTED),
        (7 * P, Y, {"normalize": True}, EXPECTED),
        (100 * P, Y, {"percent": True}, EXPECTED),
        (TWO[:, 1], TRUE, {}, OF_TWO),
        (TWO[:, 1:], TRUE.astype(bool), {}, OF_TWO),
        (tensor(TWO[:, 1]), np.array(["no", "yes"])[TRUE], {}, OF_TWO),
        (TWO, TRUE.astype(bool), {}, OF_TWO),
        (np.log(TWO[:, 1] / TWO[:, 0]), TRUE, {"logits": True}, OF_TWO),
        (P, Y, {"bins": 5}, Measures.from_probabilities(P, Y, 5)),
    ]:
        found = candor.measure(probabilities, labels, **options)
        assert found.as_dict() == pytest.approx(expected.as_dict(), rel=1e-9)
        assert candor.calibrate(probabilities, labels, **options).measures == found


def test_bfloat16_is_read_as_what_it_is() -> None:
    p = tensor(P, torch.bfloat16)
    assert candor.measure(p, Y) == candor.measure(p.detach().double().numpy(), Y)


def test_masked_values_are_missing() -> None:
    with pytest.warns(UserWarning, match="row 4"):
        masked = candor.measure(np.ma.array(P, mask=np.tile(np.arange(90)[:, None] == 3, 3)), Y)
    assert masked.n == 89


def test_a_tensor_is_calibrated_like_an_array() -> None:
    found = candor.calibrate(*simulated(0, rows=300, temperature=2.2))
    assert (found.transform(tensor(TWO)) == found.transform(TWO)).all()
    assert (found.transform_logits(tensor(TWO)) == found.transform_logits(TWO)).all()


def test_groups_widen_the_interval() -> None:
    patients = np.arange(90) // 9
    grouped = candor.measure(P, Y, groups=patients)
    assert grouped.ece == EXPECTED.ece
    assert grouped.signed_gap_upper - grouped.signed_gap_lower > (
        EXPECTED.signed_gap_upper - EXPECTED.signed_gap_lower
    )
    assert candor.calibrate(P, Y, groups=[f"p{n}" for n in patients]).measures == grouped


def test_rows_with_something_missing_are_left_out_and_counted() -> None:
    for missing in [None, np.nan, pd.NA, "", "n/a"]:
        p, labels = P.astype(object), np.array(NAMES, dtype=object)[Y]
        p[3, 1], labels[5] = missing, missing
        kept = np.delete(np.arange(90), [3, 5])
        with pytest.warns(UserWarning, match="left out: row") as said:
            found = candor.measure(p, labels, classes=NAMES)
        assert found.as_dict() == pytest.approx(
            Measures.from_probabilities(P[kept], Y[kept]).as_dict(), rel=1e-9
        )
        assert len(said) == 2
        notes = candor.calibrate(p, labels, classes=NAMES).notes
        assert [str(each.message) for each in said] == list(notes[:2])
        assert "row 6" in notes[0]
        assert "row 4" in notes[1]


def test_what_cannot_be_read_is_refused_alike() -> None:
    for probabilities, labels, said in [
        ([[0.1, 0.9], [0.1]], [0, 1], "rows differ in length"),
        (np.zeros((2, 2, 2)), [0, 1], r"shape \(N, K\)"),
        (P, [*Y[:-1], 7], "row 90"),
        (np.log(P), Y, "--logits"),
        (100 * P, Y, "--percent"),
        (pd.DataFrame(P), pd.Series(Y, index=range(90, 0, -1)), "index of labels"),
        (TWO[:, 1], Y, "found 3"),
        (P, np.zeros((90, 2)), "labels have 2 columns without names, scores 3"),
        (np.where(np.arange(90)[:, None] == 4, np.inf, P), Y, "row 5"),
    ]:
        for reads in (candor.measure, candor.calibrate):
            with pytest.raises(ValueError, match=said):
                reads(probabilities, labels)
    for bins in (0, 1.5):
        with pytest.raises(ValueError, match=f"got {bins}"):
            candor.measure(P, Y, bins=bins)  # type: ignore[arg-type]


def test_labels_of_one_kind_say_nothing_against_a_binary_model() -> None:
    assert candor.measure([0.1, 0.2], [0, 0]).accuracy == 1
