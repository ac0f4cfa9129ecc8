"""The entry point of the command line: it names the verbs, prints their results, reports errors.

Results go to stdout, notes and progress to stderr. Exit codes: 0 done, 1 failed (one sentence says
why), 2 wrong usage.
"""

import sys
from collections.abc import Mapping
from typing import Annotated, Final, NamedTuple, NoReturn

import typer

from candor.commands import (
    calibrating,
    canary,
    data,
    demo,
    diagnosing,
    experiments,
    exporting,
    importing,
    ledger,
    monitoring,
    predicting,
    recalibration,
    serving,
    store,
    store_changes,
    training,
    uploads,
)
from candor.commands.verb import reason
from candor.shell import Verb, command, paragraphs, without_verb
from candor.terminal.help import VerbHelp, VerbsHelp

WINDOWS: Final = (
    "Candor does not run on Windows itself: use WSL 2 (`wsl --install`), where it runs as on Linux "
    "(docs/limits.md#operating-systems)"
)


class Shelled(NamedTuple):
    """A verb whose command does more: `run` is called in the place of the function."""

    function: Verb
    run: Verb


class Noun(NamedTuple):
    """Verbs of one noun, and what they are for; `default` is what the noun alone does."""

    help: str
    verbs: Mapping[str, Verb]
    default: Verb | None = None


_DATA = Noun("Inspect the images that a model will be trained on.", {"check": data.check})
_EXPERIMENT = Noun(
    "Reproduce the paper's tables and figures, on its data or on your own.",
    {"compare": experiments.compare, "figure": experiments.figure},
)
_MODELS = Noun(
    store.HELP,
    {
        "list": store.list_versions,
        "show": store.show,
        "diff": store.diff,
        "verify": store.verify,
        "history": store.history,
        "rollback": store_changes.rollback,
        "alias": store_changes.alias,
        "sign": store_changes.sign,
        "retire": store_changes.retire,
        "samples": store_changes.samples,
        "gc": store_changes.gc,
    },
    store.list_versions,
)
_CANARY = Noun(
    "Try out a version beside production before promoting it.",
    {
        "start": canary.start,
        "status": canary.status,
        "promote": canary.promote,
        "abort": canary.abort,
    },
)
_LEDGER = Noun(
    "Maintain a ledger: check, prune, erase, export, back up; acknowledge, label sources.",
    {
        "check": ledger.check,
        "prune": ledger.prune,
        "forget": ledger.forget,
        "export": ledger.export,
        "acknowledge": ledger.acknowledge,
        "sources": ledger.sources,
        "backup": ledger.backup,
        "restore": ledger.restore,
    },
)
_CONFIG = Noun("See how Candor is configured.", {"show": diagnosing.show})
GROUPS: Final[Mapping[str, Mapping[str, Verb | Shelled | Noun]]] = {
    "See it work": {
        "demo": demo.demo,
        "traffic": demo.traffic,
        "calibrate": Shelled(calibrating.calibrate, calibrating.calibrate_in_shell),
    },
    "Train": {
        "data": _DATA,
        "train": training.train,
        "export": exporting.export,
        "experiment": _EXPERIMENT,
    },
    "Serve": {
        "import": importing.import_model,
        "models": _MODELS,
        "promote": store_changes.promote,
        "canary": _CANARY,
        "serve": Shelled(serving.serve, serving.run_server),
        "predict": predicting.predict,
    },
    "Monitor": {
        "feedback": uploads.feedback,
        "predictions": uploads.predictions,
        "report": Shelled(monitoring.report, monitoring.report_in_shell),
        "recalibrate": recalibration.recalibrate,
        "monitor": monitoring.monitor,
        "ledger": _LEDGER,
    },
    "Look after it": {
        "doctor": diagnosing.doctor,
        "health": diagnosing.health,
        "config": _CONFIG,
    },
}


def _show_release(asked: bool) -> None:
    if asked:
        from model_store.installation import release

        print(f"candor {release()}")  # noqa: T201
        raise typer.Exit


app = typer.Typer(
    rich_markup_mode=None,
    name="candor",
    cls=VerbsHelp,
    help="Train, serve and monitor medical image classifiers whose confidence you can trust.",
    no_args_is_help=True,
    context_settings={"max_content_width": 100},  # of help, where a terminal is as wide
    pretty_exceptions_enable=False,
)


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the release and exit.", is_eager=True, callback=_show_release
        ),
    ] = False,
) -> None:
    """Train, serve and monitor medical image classifiers whose confidence you can trust."""


def _add(name: str, verb: Verb | Shelled | Noun, panel: str) -> None:
    if not isinstance(verb, Noun):
        made = command(*verb) if isinstance(verb, Shelled) else command(verb)
        app.command(name, cls=VerbHelp, rich_help_panel=panel)(made)
        return
    noun = typer.Typer(
        rich_markup_mode=None,
        name=name,
        help=paragraphs(verb.help),
        no_args_is_help=verb.default is None,
    )
    if verb.default is not None:
        noun.callback(invoke_without_command=True, help=paragraphs(verb.help))(
            without_verb(verb.default)
        )
    for word, each in verb.verbs.items():
        noun.command(word, cls=VerbHelp)(command(each))
    app.add_typer(noun, rich_help_panel=panel)


for _panel, _verbs in GROUPS.items():
    for _name, _verb in _verbs.items():
        _add(_name, _verb, _panel)


def main() -> None:
    """Run the command line. Errors raised on purpose become one sentence and exit code 1."""
    if sys.platform == "win32":
        _fail(WINDOWS)
    try:
        app()
    except Exception as error:
        why = reason(error)
        if why is None:
            raise
        _fail(why)


def _fail(sentence: str) -> NoReturn:
    from candor.terminal.console import note

    note(f"candor: {sentence}")
    sys.exit(1)
