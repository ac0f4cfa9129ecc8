"""`candor.calibrate`, as a notebook uses it, and the sentences and pages that it shows."""

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import onnxruntime as ort
import pytest

import candor
from calibration.calibrators.portable import PortableCalibrator
from calibration.measured import Standing
from tests.builders.answers import simulated

P, Y = simulated(0, rows=300, temperature=2.2)
NAMES = ("normal", "<b>pneumonia</b>")


class Frame:
    """As much of a data frame as is looked at."""

    columns = NAMES

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return P


@pytest.fixture(scope="module")
def found() -> candor.Calibration:
    return candor.calibrate(P, Y, classes=NAMES)


def test_it_calibrates(found: candor.Calibration) -> None:
    assert found.standing is Standing.OVERCONFIDENT
    new_p, new_y = simulated(1, rows=5_000, temperature=2.2)
    assert candor.measure(found.transform(new_p), new_y).ece < candor.measure(new_p, new_y).ece / 3
    assert np.allclose(found.transform(new_p[:, 1]), found.transform(new_p)[:, 1])
    assert np.allclose(found.transform_logits(np.log(new_p)), found.transform(new_p))


def test_other_arrays_are_refused() -> None:
    for probabilities, labels, options, said in [
        (P, Y[:5], {}, r"labels must be of shape \(300,\)"),
        (P, Y + 5, {}, "no column is about the labels '5', '6'"),
        (P, Y, {"groups": [1]}, r"groups must be of shape \(300,\)"),
        ([["a", "b"]], [0], {}, "is no number"),
        (np.zeros((0, 2)), [], {}, "no rows"),
    ]:
        with pytest.raises(ValueError, match=said):
            candor.calibrate(probabilities, labels, **options)


def test_what_is_saved_gives_the_same(found: candor.Calibration, tmp_path: Path) -> None:
    found.save(tmp_path / "c.json")
    read = PortableCalibrator.from_json((tmp_path / "c.json").read_text())
    assert np.allclose(read(P), found.transform(P))
    assert read.about["judged_rows"] == 300
    found.save(tmp_path / "c.onnx")
    session = ort.InferenceSession(tmp_path / "c.onnx")
    assert (
        np.abs(
            session.run(None, {"probabilities": P.astype(np.float32)})[0] - found.transform(P)
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


@pytest.mark.parametrize(
    ("probabilities", "labels", "options", "advice"),
    [
        (np.log(P), Y, {}, "--logits"),
        (3 * P, Y, {}, "--normalize if they are counts"),
        (P / 2, Y, {}, "--normalize divides each row by its sum"),
        (P, Y, {"classes": ["pneumonia", "normal", "other"]}, "--classes names 3 classes"),
        (P[:, 1], np.array(["left", "right"])[Y], {}, "--positive"),
        (P[:, 1], np.arange(300) % 3, {}, "needs labels of two classes"),
        (Frame(), np.array(["good", "bad"])[Y], {}, "--classes with the names of the labels"),
        (P, 1 - Y, {}, "do not belong together"),
        (P, Y, {"logits": True, "percent": True}, "either --logits or --percent"),
    ],
)
def test_a_refusal_names_what_settles_it(
    probabilities: Any, labels: Any, options: dict[str, Any], advice: str
) -> None:
    for reads in (candor.calibrate, candor.measure):
        with pytest.raises(ValueError, match=advice):
            reads(probabilities, labels, **options)


def test_one_report_has_one_nll_and_says_how_many_zeros_it_counts_as_what() -> None:
    rounded, labels = P.round(2), Y.copy()
    rounded[:6], labels[:6] = [1.0, 0.0], 1
    calibration = candor.calibrate(rounded, labels)
    given, fit = calibration.measures, calibration.examination.fit
    assert given.nll_zeros == sum(rounded[np.arange(300), labels] == 0) >= 6
    assert given.nll == pytest.approx(fit.choice.served_nll) == candor.measure(rounded, labels).nll
    assert given.nll == pytest.approx(
        -np.log(np.maximum(rounded[np.arange(300), labels], 0.0025)).mean()
    )
    assert any("counts a 0 as 0.0025" in note for note in calibration.notes)
