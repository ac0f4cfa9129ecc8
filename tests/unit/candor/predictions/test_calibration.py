"""`candor.calibrate`, as a notebook uses it, and the sentences and pages that it shows."""

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import onnxruntime as ort
import pytest

import candor
from calibration.calibrators.portable import PortableCalibrator
from calibration.examination import Standing
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("probabilities", "labels", "options"),
    [
        (P.tolist(), Y.tolist(), {}),
        (P.astype(np.float32), np.array(NAMES)[Y], {"classes": NAMES}),
        (Frame(), np.array(NAMES, dtype=object)[Y], {}),
        (P[:, 1], Y.astype(bool), {}),
        (np.log(P), np.eye(2)[Y], {"logits": True}),
        (P, Y, {"groups": [f"patient {number}" for number in range(300)]}),
    ],
)
def test_arrays_as_people_have_them(
    probabilities: Any, labels: Any, options: dict[str, Any]
) -> None:
    again = candor.calibrate(probabilities, labels, **options)
    assert again.calibrator.method == "temperature"
    assert 1 / again.calibrator.weight[0] == pytest.approx(2.2, rel=0.2)


@pytest.mark.parametrize(
    ("probabilities", "labels", "options", "said"),
    [
        (P, Y[:5], {}, r"labels must be of shape \(300,\)"),
        (P * 2, Y, {}, "do not add up|no probabilities"),
        (np.log(P), Y, {}, "cannot be negative.*logits"),
        (P, Y + 5, {}, "no column is about the labels '5', '6'"),
        (P, Y, {"classes": ["a", "b", "c"]}, "names 3 classes; there are 2 columns"),
        (P, Y, {"groups": [1]}, r"groups must be of shape \(300,\)"),
        ([["a", "b"]], [0], {}, "must be numbers"),
        (np.zeros((0, 2)), [], {}, "no rows"),
    ],
)
def test_other_arrays_are_refused(
    probabilities: Any, labels: Any, options: dict[str, Any], said: str
) -> None:
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


def test_the_page_is_whole_and_escapes_names(found: candor.Calibration) -> None:
    page = found.page()
    assert page.startswith("<!doctype html>")
    assert page.count("<svg") == 2
    assert "<b>pneumonia" not in page
    assert (
        "Cross-fitted, so that each of the 300 rows is judged by a calibrator that has not seen it"
        in page
    )


def test_figures_are_plain_data(found: candor.Calibration) -> None:
    data = found.as_dict()
    assert data["given"]["measures"]["n"] == data["rows"] == 300
    assert data["effect"]["after"]["measures"]["ece"] < data["given"]["measures"]["ece"]
    assert json.loads(json.dumps(data))["calibrator"]["format"] == "candor-calibrator/1"


@pytest.mark.slow
def test_calibrated_predictions_are_left_alone_and_say_so() -> None:
    p, y = simulated(4, rows=300)
    alone = candor.calibrate(p, y)
    assert (alone.standing, alone.calibrator.method) == (Standing.NOT_SHOWN, "none")
    assert (alone.transform(p) == p).all()
    assert "do not exclude a true ECE of up to" in alone.verdict
    assert "left alone" in repr(alone)


def test_twenty_rows_are_told_that_nothing_can_be_said() -> None:
    few = candor.calibrate(P[:20], Y[:20])
    assert few.verdict.startswith("Too few rows to say. 20 rows say nothing about calibration yet")
    assert (
        "No calibrator was fitted: a calibrator needs 100 labeled rows; there are 20 rows."
        in repr(few)
    )
    assert "left alone" not in repr(few)


@pytest.mark.slow
def test_a_remedy_that_would_change_answers_is_named() -> None:
    p, y = simulated(2, rows=400, bias=(1.2, -1.2))
    kept = candor.calibrate(p, y)
    assert any(
        "may change the predicted class" in note and "`allow_label_changes=True`" in note
        for note in kept.notes
    )
    free = candor.calibrate(p, y, allow_label_changes=True)
    assert any("clinical decision" in note for note in free.notes)


@pytest.mark.slow
def test_patients_are_said_to_be_kept_together() -> None:
    grouped = candor.calibrate(P, Y, groups=np.arange(300) // 3)
    assert any("100 groups" in note for note in grouped.notes)
    assert not any("--group" in note for note in grouped.notes)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("probabilities", "labels", "options", "advice"),
    [
        (np.log(P), Y, {}, "For logits, give logits=True"),
        (3 * P, Y, {}, "normalize=True divides each row by its sum"),
        (P / 2, Y, {}, "normalize=True divides each row by its sum; logits=True takes"),
        (P, Y, {"classes": ["pneumonia", "normal", "other"]}, "`classes` names 3 classes"),
        (P, Y, {"classes": None}, None),
        (P[:, 1], np.array(["left", "right"])[Y], {}, "Give `classes`, the second of which"),
        (P[:, 1], np.arange(300) % 3, {}, "give an array of shape \\(N, K\\)"),
        (Frame(), np.array(["good", "bad"])[Y], {}, "ive `classes` with the names of the labels"),
    ],
)
def test_a_caller_is_told_of_parameters_and_not_of_options(
    probabilities: Any, labels: Any, options: dict[str, Any], advice: str | None
) -> None:
    if advice is None:
        assert not any(
            "--" in note for note in candor.calibrate(probabilities, labels, **options).notes
        )
        return
    with pytest.raises(ValueError, match=advice) as refused:
        candor.calibrate(probabilities, labels, **options)
    assert "--" not in str(refused.value)


@pytest.mark.slow
def test_rows_are_divided_by_their_sum() -> None:
    found = candor.calibrate(3 * P, Y, normalize=True)
    assert found.measures.accuracy == candor.calibrate(P, Y).measures.accuracy
    assert any(note.startswith("normalize=True divided rows") for note in found.notes)
