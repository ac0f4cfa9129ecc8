"""The verbs as functions have the command line's options, and say in Python what to do."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from typer.models import ArgumentInfo, OptionInfo

import candor
from candor.commands import (
    exporting,
    importing,
    monitoring,
    recalibration,
    serving,
    store_changes,
    training,
)
from candor.verbs import Refused, in_python

VERBS = {
    training.train: candor.train,
    exporting.export: candor.export,
    importing.import_: candor.import_model,
    store_changes.promote: candor.promote,
    serving.serve: candor.serve,
    monitoring.report: candor.report,
    recalibration.recalibrate: candor.recalibrate,
}
# What prints, waits or starts processes in the place of returning a result
COMMAND_LINE_ALONE: dict[object, set[str]] = {
    training.train: {"list_losses", "nproc"},
    monitoring.report: {"every", "to", "once", "fail_on_alarm"},
    store_changes.promote: {"wait", "url", "limit", "token_file"},
}


def declared(verb: Callable[..., object]) -> dict[str, set[str]]:
    """The names in Python of a verb's arguments and options, from its declaration for Typer."""
    found: dict[str, set[str]] = {"arguments": set(), "options": set()}
    for name, each in get_type_hints(verb, include_extras=True).items():
        for info in getattr(each, "__metadata__", ()):
            if isinstance(info, ArgumentInfo):
                found["arguments"].add(name)
            elif isinstance(info, OptionInfo):
                told = [each for each in (info.default, *(info.param_decls or ())) if each]
                typed = next((each for each in told if str(each).startswith("--")), name)
                typed = typed.removeprefix("--").partition("/")[0].replace("-", "_")
                found["options"].add("for_" if typed == "for" else typed)
    return found


def test_parameters_have_the_names_of_the_options() -> None:
    for verb in VERBS:
        function = VERBS[verb]
        of_verb = declared(verb)
        assert len(of_verb["options"]) > 3
        kinds: dict[Any, set[str]] = {}
        for name, each in inspect.signature(function).parameters.items():
            kinds.setdefault(each.kind, set()).add(name)
            assert f"\n    {name}: " in (function.__doc__ or "")
        left_out = COMMAND_LINE_ALONE.get(verb, set()) | {"json", "help_all"}
        assert kinds[inspect.Parameter.KEYWORD_ONLY] == of_verb["options"] - left_out
        assert kinds.get(inspect.Parameter.POSITIONAL_OR_KEYWORD, set()) == of_verb["arguments"]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: candor.train("digits", epochs="many"), "epochs"),
        (lambda: candor.train("digits", loss="dca+nothing"), "nothing"),
        (lambda: candor.export("no-run"), "no-run"),
        (lambda: candor.report("chest", window="all", since="3d"), "window or since"),
        (lambda: candor.import_model("model.onnx", pixels="Unit"), "expected imagenet, unit"),
    ],
)
def test_errors_say_what_to_do_in_python(
    call: object, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Refused) as refused:
        call()
    assert says in str(refused.value)
    assert "--" not in str(refused.value)
    assert refused.value.__cause__ is not None


def test_a_wrong_name_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="epoch"):
        candor.train("digits", epoch=3)


def test_commands_in_sentences_become_calls() -> None:
    assert in_python("see `candor models`, or `candor promote chest 2`") == (
        "see `candor models`, or `candor.promote('chest', 2)`"
    )
    assert in_python("Next: candor import 'a b.onnx' --promote") == (
        "Next: candor.import_model('a b.onnx', promote=True)"
    )
    untold = "Next: candor ledger acknowledge chest --version 1 --note WHY"
    assert in_python(untold) == untold
