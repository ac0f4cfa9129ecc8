"""Colors of a model's page: no "all clear" beside an alarm, nothing by color alone."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import Browser

from calibration.drift.state import DriftSettings
from console.report_document import report_page
from monitoring.diagnosis.facts import State
from monitoring.drift.tag_settings import TagSettings
from monitoring.reports.page_data import PageData, read_page_data
from tests.builders.answers import label, make_row
from tests.builders.browser import open_page
from tests.builders.monitored import Clock, MonitoredModel
from tests.builders.scenes import Answer, answers, calibrated, card, serve, tell

pytestmark = pytest.mark.nightly
GREEN = """
() => {
  const probe = document.createElement("i");
  document.body.append(probe);
  probe.setAttribute("class", "ok");
  const green = getComputedStyle(probe).getPropertyValue("--good");
  const color = document.createElement("canvas").getContext("2d");
  const shade = (text) => { color.clearRect(0, 0, 1, 1); color.fillStyle = text; color.fillRect(0, 0, 1, 1);
    return String(color.getImageData(0, 0, 1, 1).data); };
  const wanted = new Set([shade("#1a7f4b"), shade("#4cc38a")]);
  if (!green.includes("#1a7f4b")) throw new Error("the green of the style sheet is another one: " + green);
  const painted = (each) => {
    const style = getComputedStyle(each);
    const words = [...each.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    return [words && style.color, style.backgroundColor, parseFloat(style.borderLeftWidth) && style.borderLeftColor,
      ...(each.ownerSVGElement ? [style.fill, style.stroke].filter((paint) => paint !== "none") : [])];
  };
  return [...document.querySelectorAll("main *")].filter((each) => each.checkVisibility())
    .filter((each) => painted(each).some((found) => found && wanted.has(shade(found))))
    .map((each) => each.textContent.trim().slice(0, 60));
}
"""


class Scene(NamedTuple):
    """A scene, and the state that it leads to."""

    tell: Callable[[MonitoredModel], None]
    state: State


def off_by_class(monitored: MonitoredModel) -> None:
    """Each class is off by 20 points, in opposite directions: accuracy is what it was."""
    off = [answers(3_000, lambda p, by=by: p + by, seed=3) for by in (-0.2, 0.2)]
    given = [each for k in (0, 1) for each in off[k] if each.predicted == k]
    show(monitored, sorted(given, key=lambda each: each.chance))


def off_on_one_device(monitored: MonitoredModel) -> None:
    """One of ten answers is of a device on which the model is overconfident."""
    for number, each in enumerate(answers(3_000, calibrated)):
        device, name = ("b", "normal") if number % 10 == 0 else ("a", "")
        row = make_row(number, confidence=each.confidence, predicted=1)
        monitored.serve(row._replace(tags=f'{{"device":"{device}"}}'))
        right = each.chance < each.confidence - 0.25 if name else each.right
        monitored.label(label(number, "pneumonia" if right else "normal"))


def fine(monitored: MonitoredModel) -> None:
    show(monitored, answers(3_000, calibrated, seed=1))


def show(monitored: MonitoredModel, given: list[Answer]) -> None:
    given = [each._replace(number=number) for number, each in enumerate(given)]
    serve(monitored, given)
    tell(monitored, given)


SCENES = {
    "an alarm by class": Scene(off_by_class, State.ALARM),
    "an alarm of a tag": Scene(off_on_one_device, State.ALARM),
    "nothing": Scene(fine, State.FINE),
}


def found_in(scene: Scene, path: Path) -> PageData:
    tags = TagSettings(("device",)) if scene.tell is off_on_one_device else None
    with MonitoredModel(
        path, Clock(), card=card(), settings=DriftSettings(), tags=tags
    ) as monitored:
        scene.tell(monitored)
        return read_page_data(monitored.ledger, "pneumonia")


@pytest.mark.parametrize("name", SCENES)
def test_nothing_is_green_while_an_alarm_is_active(
    name: str, tmp_path: Path, browser: Browser
) -> None:
    scene = SCENES[name]
    found = found_in(scene, tmp_path / "ledger.db")
    assert found.report.diagnosis.state is scene.state
    for dark in (False, True):
        with open_page(browser, dark=dark) as page:
            page.set_content(report_page(found))
            green = page.evaluate(GREEN)
            if scene.state is State.FINE:
                assert green != []
                continue
            assert green == []
            assert (
                page.locator(".verdict")
                .first.evaluate("(each) => each.className")
                .endswith("alarm")
            )
