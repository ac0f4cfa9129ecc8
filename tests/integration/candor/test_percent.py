"""Every verb writes proportions in percent, differences in points; JSON has proportions."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from model_store.store.store import Store
from tests.builders.bundles import color_weights, foreign_onnx, labeled_folder
from tests.builders.monitored import record_unsure_answers
from tests.builders.processes import candor_here

# Words in the names of JSON's numbers that are no proportions.
OTHERS = re.compile(
    "nll|brier|temperature|auroc|auprc|bias|weight|improvement|standard_error|log_|"
    "observed_expected|benefit|tolerance|difference|estimate|lower|upper|moved|everyone|factor"
)
FRACTION = re.compile(r"(?<![\w.])[+-]?(?:0\.\d{2,}|1\.0{2,})(?![\w.])")


def run(*arguments: object) -> str:
    done = candor_here(*arguments)
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout


def others(data: Any, name: str = "") -> Iterator[float]:
    """The numbers of JSON that may be written as they are."""
    if isinstance(data, dict):
        for key, value in data.items():
            yield from others(value, key)
    elif isinstance(data, list):
        for value in data:
            yield from others(value, name)
    elif isinstance(data, float) and OTHERS.search(name):
        yield data


def strays(text: str, data: Any) -> set[str]:
    """Fractions in the text that are none of JSON's numbers of another kind."""
    known = {f"{abs(value):.{digits}f}" for value in others(data) for digits in (2, 3, 4)}
    return {found for found in FRACTION.findall(text) if found.lstrip("+-") not in known}


@pytest.fixture
def places(tiny_store: Store, tmp_path: Path) -> dict[str, list[object]]:
    url = f"sqlite:///{tmp_path}/ledger.db"
    record_unsure_answers(url, tiny_store.read("tiny").card)
    store = ["--store", tiny_store.root]
    return {"store": store, "both": [*store, "--ledger", url], "ledger": ["--ledger", url]}


@pytest.mark.parametrize(
    ("words", "where"),
    [
        (("report", "tiny"), "ledger"),
        (("recalibrate", "tiny", "--preview"), "both"),
        (("models", "list"), "store"),
        (("models", "show", "tiny"), "store"),
    ],
)
def test_a_verb_of_store_and_ledger_writes_percent(
    words: tuple[str, ...], where: str, places: dict[str, list[object]]
) -> None:
    text, data = run(*words, *places[where]), run(*words, *places[where], "--json")
    assert strays(text, json.loads(data)) == set()
    assert text.count(" %") > 2


def test_a_canary_without_labels_is_not_compared(places: dict[str, list[object]]) -> None:
    run("recalibrate", "tiny", *places["both"], "--shadow")
    status = ("canary", "status", "tiny", *places["both"])
    assert "Not compared" in run(*status)
    assert json.loads(run(*status, "--json"))["comparison"] is None


def test_calibrate_writes_percent(tmp_path: Path) -> None:
    file = tmp_path / "answers.csv"
    rows = [f"{0.81 + 0.001 * (n % 90)},{'b' if n % 4 else 'a'}" for n in range(400)]
    file.write_text("\n".join(["prob_b,label", *rows]))
    text, data = run("calibrate", file), run("calibrate", file, "--json")
    assert strays(text, json.loads(data)) == set()
    assert text.count(" %") > 10


@pytest.mark.usefixtures("undrawn")
def test_train_export_and_predict_write_percent(tmp_path: Path) -> None:
    data, store = labeled_folder(tmp_path / "data", images=24, size=24), tmp_path / "store"
    for name, other in zip("abc", "bca", strict=True):  # or no temperature would be found
        for image in sorted((data / name).glob("image*.png"))[::6]:
            image.rename(data / other / f"from_{name}_{image.name}")
    network = ("--backbone", "small_conv", "--weights", "none", "--image-size", 24)
    schedule = ("--epochs", 2, "--loss", "ce", "--out", tmp_path / "run")
    text = run("train", data, *network, *schedule)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert strays(text, metrics) == set()
    assert text.count(" %") > 10
    run("export", tmp_path / "run", "--name", "mine", "--store", store, "--anyway", "--promote")
    assert strays(run("models", "show", "mine", "--store", store), metrics) == set()
    (card,) = store.glob("mine/1/model_card.md")
    shown = json.loads((card.parent / "card.json").read_text())
    assert strays(card.read_text(), shown) == set()
    image = next(data.rglob("*.png"))
    answered = run("predict", image, "--store", store)
    assert strays(answered, {}) == set()
    assert " %" in answered


def test_import_writes_percent(tmp_path: Path) -> None:
    path = foreign_onnx(tmp_path / "model.onnx", constants={"weights": color_weights()})
    target = ("--store", tmp_path / "store", "--channels", "rgb", "--pixels", "unit")
    given = ("import", path, "--data", labeled_folder(tmp_path / "data"), *target)
    text, data = run(*given, "--name", "one"), run(*given, "--name", "two", "--json")
    assert strays(text, json.loads(data)) == set()
    assert text.count(" %") > 2
    assert text.replace("\n", "").isprintable()  # no bar is drawn where there is no terminal
