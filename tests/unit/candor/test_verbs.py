"""The verbs are functions with signatures; the command line is their shell, and says the same."""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import candor
from calibration.findings.measures import FindingsMeasures
from calibration.measures.summary import Measures
from candor.command_line import GROUPS, Noun, Shelled, app
from candor.commands import diagnosing
from candor.commands.options import PYTHON, SHARED
from candor.commands.store_changes import Promoted
from candor.predictions.calibration import Calibration
from candor.predictions.findings_calibration import FindingsCalibration
from candor.server_process import ServerProcess
from candor.shell import Verb, argument_texts
from candor.terminal.imported import Imported
from candor.terminal.published import Exported
from candor.terminal.recalibration import Recalibrated
from candor.terminal.report import Reported
from candor.terminal.run_result import Trained
from candor.terminal.verb_result import PlainResult, print_made
from model_store.store.store import Store


def test_every_name_can_be_used_and_is_listed() -> None:
    for name in candor.__all__:
        assert getattr(candor, name) is not None
        assert name in dir(candor)


def test_a_wrong_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'candor' has no attribute 'tarin'"):
        candor.tarin  # noqa: B018


def test_training_without_its_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(candor._MODULE_OF, "train", "training.not_installed")
    monkeypatch.delitem(vars(candor), "train", raising=False)
    with pytest.raises(ImportError, match=r"candor\.train needs more packages .* -m pip install "):
        candor.train  # noqa: B018


SHELL: Any = typer.main.get_command(app)
IN_PYTHON = {
    name: getattr(candor, "import_model" if name == "import" else name)
    for name in ("calibrate", "train", "export", "import", "promote", "serve", "report")
} | {"recalibrate": candor.recalibrate}


def functions() -> Iterator[Verb]:
    """Every function that has a command, and what a command does more."""
    for verbs in GROUPS.values():
        for each in verbs.values():
            yield from (
                each.verbs.values()
                if isinstance(each, Noun)
                else (each if isinstance(each, Shelled) else (each,))
            )


@pytest.mark.parametrize("name", IN_PYTHON)
def test_the_function_is_the_command(name: str) -> None:
    """The same parameters, in the same order and with the same defaults."""
    signature = inspect.signature(IN_PYTHON[name]).parameters
    shared = {
        parameter: each.default
        for parameter, each in signature.items()
        if PYTHON not in getattr(each.annotation, "__metadata__", ())
    }
    options = {each.name: each for each in SHELL.commands[name].params}
    assert [*shared] == [each for each in options if each in shared]
    for parameter, default in shared.items():
        if default not in (inspect.Parameter.empty, (), None):
            assert options[parameter].default == default, parameter


def test_every_parameter_of_every_verb_is_told() -> None:
    untold = [
        f"{function.__name__}: {name}"
        for function in functions()
        for name, each in inspect.signature(function).parameters.items()
        if each.kind is not inspect.Parameter.VAR_KEYWORD
        and name not in argument_texts(function)
        and name not in SHARED
    ]
    assert not untold


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: candor.train("digits", epochs="many"), "epochs"),
        (lambda: candor.train("digits", loss="dca+nothing"), "nothing"),
        (lambda: candor.train("digits", uncertain="maybe"), "uncertain: got 'maybe'; choose one"),
        (lambda: candor.export("no-run"), "no-run"),
        (lambda: candor.export("no-run", threshold="none"), "threshold: got 'none'"),
        (lambda: candor.report("chest", window="all", since="3d"), "window or since"),
        (lambda: candor.report("chest", gap=0.9), r"gap: got 0.9; expected 0.02 to 0.5"),
        (lambda: candor.import_model("model.onnx", pixels="Unit"), "expected imagenet, unit"),
        (lambda: candor.import_model("model.onnx", size="7"), "size: got '7'"),
        (
            lambda: candor.promote("chest", 1, url=["http://a"]),
            "url: servers are asked with wait=True",
        ),
        (lambda: candor.recalibrate("chest", canary=0.1, shadow=True), "only one of preview"),
    ],
)
def test_errors_say_what_to_do_in_python(
    call: Any, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(candor.Refused, match=says) as refused:
        call()
    assert "--" not in str(refused.value)
    assert refused.value.__cause__ is not None


RETURNED: dict[str, tuple[type, ...]] = {
    "train": (Trained,),
    "export": (Exported,),
    "import_model": (Imported,),
    "calibrate": (Calibration, FindingsCalibration),
    "measure": (Measures, FindingsMeasures),
    "promote": (Promoted,),
    "serve": (ServerProcess,),
    "report": (Reported,),
    "recalibrate": (Recalibrated,),
}


@pytest.mark.parametrize("name", RETURNED)
def test_a_verb_is_an_ordinary_function_whose_value_shows_itself(name: str) -> None:
    function, kinds = getattr(candor, name), RETURNED[name]
    signature, said = inspect.signature(function), inspect.getdoc(function) or ""
    for each in signature.parameters.values():
        assert each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY), each
        assert each.annotation is not each.empty, each
        assert each.kind is each.POSITIONAL_OR_KEYWORD or each.default is not each.empty, each
    assert kinds[0].__name__ in str(signature.return_annotation)
    assert [part for part in ("Returns:", "Raises:") if part not in said] == []
    assert "Args:" in said
    for kind in kinds:
        assert hasattr(kind, "_repr_html_") or hasattr(kind, "_repr_markdown_"), kind


def test_measures_show_themselves_in_a_notebook() -> None:
    measured = candor.measure([[0.2, 0.8]] * 10, [1] * 6 + [0] * 4)
    assert "| Accuracy | 60.0 % |" in measured._repr_markdown_()
    several = candor.measure([[0.7, 0.9], [0.1, 0.4]] * 9, [[1, 1], [0, 0]] * 9, findings="*")
    assert "| 18 | 9 |" in several._repr_markdown_()


def test_what_a_function_returns_is_printed_by_the_root_alone(
    tiny_store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    candor.promote("tiny", 1, store=tiny_store.root, ledger="off")
    diagnosing.show()
    assert capsys.readouterr().out == ""
    print_made(PlainResult({"a": 1}, "said"), as_json=True)
    print_made(PlainResult({"a": 1}, "said"), as_json=False)
    assert capsys.readouterr().out == '{\n  "a": 1\n}\nsaid\n'
