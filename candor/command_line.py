"""The front door: the command line. Nothing but wiring; the verbs are in commands/, a file a noun.

Results go to stdout, progress and logs to stderr. Exit codes: 0 done, 1 failed (one sentence says why), 2 wrong usage.
"""

import sys

import typer

from candor.commands import canary, data, demo, experiments, ledger, monitor, monitoring, serving, store, training

app = typer.Typer(
    name="candor",
    help="Train, serve and watch medical image classifiers whose confidence can be believed.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

for verb in (
    training.train,
    training.export,
    serving.serve,
    serving.predict,
    monitor.monitor,
    monitor.predictions,
    monitoring.feedback,
    monitoring.report,
    monitoring.recalibrate,
    store.promote,
    store.models,
    demo.demo,
):
    app.command()(verb)

app.add_typer(canary.app, name="canary")
app.add_typer(data.app, name="data")
app.add_typer(experiments.experiment)
app.add_typer(ledger.app, name="ledger")


def main() -> None:
    """Run the command line; every error that a room raises on purpose ends as one sentence and exit code 1."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if not isinstance(error, _expected_errors()):
            raise
        print(f"candor: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(1)


def _expected_errors() -> tuple[type[Exception], ...]:
    """What may go wrong without a bug; imported only then, to keep the start short."""
    from httpx import HTTPError
    from sqlalchemy.exc import DBAPIError

    from model_store.errors import ModelStoreError
    from monitoring.errors import MonitoringError
    from serving.client.client import ServerRefused
    from serving.errors import ServingError
    from training.errors import TrainingError

    return ModelStoreError, MonitoringError, ServerRefused, ServingError, TrainingError, HTTPError, DBAPIError, OSError
