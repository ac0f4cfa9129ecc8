"""`candor.measure` and `candor.calibrate` on arrays of any library, and what a notebook shows."""

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import onnxruntime as ort
import pandas as pd
import pytest
import torch

import candor
from calibration.calibrators.portable import PortableCalibrator
from calibration.measured import Standing
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
        (P, Y[:5], r"labels must be of shape \(90,\)"),
        ([["a", "b"]], [0], "is no number"),
        (np.zeros((0, 2)), [], "no rows"),
    ]:
        for reads in (candor.measure, candor.calibrate):
            with pytest.raises(ValueError, match=said):
                reads(probabilities, labels)
    with pytest.raises(ValueError, match=r"groups must be of shape \(90,\)"):
        candor.calibrate(P, Y, groups=[1])
    with pytest.raises(ValueError, match="either --logits or --percent"):
        candor.measure(P, Y, logits=True, percent=True)
    for bins in (0, 1.5):
        with pytest.raises(ValueError, match=f"got {bins}"):
            candor.measure(P, Y, bins=bins)  # type: ignore[arg-type]


def test_labels_of_one_kind_say_nothing_against_a_binary_model() -> None:
    assert candor.measure([0.1, 0.2], [0, 0]).accuracy == 1


SHARP, LABELS = simulated(0, rows=300, temperature=2.2)
OF_LABELS = ("normal", "<b>pneumonia</b>")


@pytest.fixture(scope="module")
def found() -> candor.Calibration:
    return candor.calibrate(SHARP, LABELS, classes=OF_LABELS)


def test_it_calibrates(found: candor.Calibration) -> None:
    assert found.standing is Standing.OVERCONFIDENT
    new_p, new_y = simulated(1, rows=5_000, temperature=2.2)
    assert candor.measure(found.transform(new_p), new_y).ece < candor.measure(new_p, new_y).ece / 3
    assert np.allclose(found.transform(new_p[:, 1]), found.transform(new_p)[:, 1])
    assert np.allclose(found.transform_logits(np.log(new_p)), found.transform(new_p))


def test_what_is_saved_gives_the_same(found: candor.Calibration, tmp_path: Path) -> None:
    found.save(tmp_path / "c.json")
    read = PortableCalibrator.from_json((tmp_path / "c.json").read_text())
    assert np.allclose(read(SHARP), found.transform(SHARP))
    assert read.about["judged_rows"] == 300
    found.save(tmp_path / "c.onnx")
    session = ort.InferenceSession(tmp_path / "c.onnx")
    assert (
        np.abs(
            session.run(None, {"probabilities": SHARP.astype(np.float32)})[0]
            - found.transform(SHARP)
        ).max()
        < 1e-6
    )
    for path in ("c.pkl", "c.svg"):
        with pytest.raises(ValueError, match=r"saved as \.json or \.onnx"):
            found.save(tmp_path / path)


def test_the_plot_is_an_svg_of_its_own(found: candor.Calibration, tmp_path: Path) -> None:
    for plot in (found.plot(), found.plot(calibrated=True)):
        plot.save(tmp_path / "plot.svg")
        drawing = ElementTree.parse(tmp_path / "plot.svg").getroot()
        dots = [each for each in drawing.iter() if each.get("class") == "dot"]
        assert len(dots) > 4
        assert "var(" not in plot.svg
        assert "light-dark" not in plot.svg
    assert found.plot()._repr_svg_().startswith("<svg xmlns=")
    with pytest.raises(ValueError, match=r"saved as \.svg"):
        found.plot().save(tmp_path / "plot.png")


def test_a_notebook_shows_sentences_pictures_and_tables(found: candor.Calibration) -> None:
    shown = found._repr_html_()
    assert type(shown) is str
    assert shown.count("data:image/svg+xml;base64,") == 2
    assert "Overconfident" in shown
    assert "<b>pneumonia" not in shown
    assert "&lt;b&gt;pneumonia" in shown
    assert not re.search(r"<(script|style|link)", shown)
    assert "Overconfident. On average" in repr(found)
    assert "T = 2" in repr(found)


def test_one_report_has_one_nll_and_says_how_many_zeros_it_counts_as_what() -> None:
    rounded, labels = SHARP.round(2), LABELS.copy()
    rounded[:6], labels[:6] = [1.0, 0.0], 1
    calibration = candor.calibrate(rounded, labels)
    given, fit = calibration.measures, calibration.examination.fit
    assert given.nll_zeros == sum(rounded[np.arange(300), labels] == 0) >= 6
    assert given.nll == pytest.approx(fit.choice.served_nll) == candor.measure(rounded, labels).nll
    assert given.nll == pytest.approx(
        -np.log(np.maximum(rounded[np.arange(300), labels], 0.0025)).mean()
    )
    assert any("counts a 0 as 0.0025" in note for note in calibration.notes)
