"""The entry point of the command line: it lists the verbs and reports errors.

Results go to stdout, notes and progress to stderr. Exit codes: 0 done, 1 failed (one sentence says
why), 2 wrong usage.
"""

import sys
from collections.abc import Callable
from typing import Annotated, Any, NoReturn

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
from candor.terminal.help import LiteralHelp


def _end(made: Any, *, model: str | None = None, **_: object) -> None:
    """Print what a verb returned; many print as they go, and return nothing. Name what is next."""
    from candor.terminal.next_steps import show_next

    if made is not None:
        from candor.terminal.verb_result import print_made

        print_made(made)
    show_next(sys.argv[1:], model=model)


app = typer.Typer(
    name="candor",
    result_callback=_end,
    cls=LiteralHelp,
    help="Train, serve and monitor medical image classifiers whose confidence you can trust.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

WINDOWS = (
    "Candor does not run on Windows itself: use WSL 2 (`wsl --install`), where it runs as on Linux "
    "(docs/limits.md#operating-systems)"
)


def _show_release(asked: bool) -> None:
    if asked:
        from model_store.installation import release

        print(f"candor {release()}")  # noqa: T201
        raise typer.Exit


Verb = Callable[..., object]
GROUPS: dict[str, tuple[Verb | typer.Typer, ...]] = {
    "See it work": (demo.demo, demo.traffic, calibrating.calibrate),
    "Train": (data.app, training.train, exporting.export, experiments.experiment),
    "Serve": (
        importing.import_,
        store.app,
        store_changes.promote,
        canary.app,
        serving.serve,
        predicting.predict,
    ),
    "Monitor": (
        uploads.feedback,
        uploads.predictions,
        monitoring.report,
        recalibration.recalibrate,
        monitoring.monitor,
        ledger.app,
    ),
    "Look after it": (diagnosing.doctor, diagnosing.health, diagnosing.app),
}
for group, verbs in GROUPS.items():
    for verb in verbs:
        if isinstance(verb, typer.Typer):
            app.add_typer(verb, rich_help_panel=group)
        else:
            # `import` is a keyword
            app.command(verb.__name__.strip("_").replace("_", "-"), rich_help_panel=group)(verb)


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


def reason(error: Exception) -> str | None:
    """Return why a verb failed, and what to do; None if it is a bug."""
    from candor.terminal.console import sentence

    if hasattr(error, "format_message"):  # a usage error, of whichever click Typer brings
        return str(error.format_message())
    if isinstance(error, ModuleNotFoundError):
        from model_store.installation import extra_of, install_command

        extra = extra_of(error.name or "")
        if extra is None:
            return None
        return f"this needs the extra {extra!r} ({error}): {install_command(extra)}"
    return sentence(error) if isinstance(error, _expected_errors()) else None


def _fail(sentence: str) -> NoReturn:
    from candor.terminal.console import note

    note(f"candor: {sentence}")
    sys.exit(1)


def _expected_errors() -> tuple[type[Exception], ...]:
    """Return the errors that are no bugs; imported only after one, for a quick start."""
    from httpx import HTTPError
    from sqlalchemy.exc import DBAPIError

    from calibration.calibrators.affine import CalibratorInvalid
    from candor.predictions.errors import PredictionsRefused
    from model_store.errors import ModelStoreError
    from monitoring.errors import MonitoringError
    from serving.client import ServerRefused, TokenInvalid
    from serving.errors import ServingError
    from training.errors import TrainingError

    rooms = (ModelStoreError, MonitoringError, ServerRefused, ServingError, TrainingError)
    return (
        *rooms,
        TokenInvalid,
        CalibratorInvalid,
        PredictionsRefused,
        HTTPError,
        DBAPIError,
        OSError,
    )
