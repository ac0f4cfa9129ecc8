"""The front door: the command line. Nothing but wiring; each verb imports its rooms when it is called.

Results go to stdout, progress and logs to stderr. Exit codes: 0 done, 1 failed (one sentence says why), 2 wrong usage.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    name="candor",
    help="Train, serve and watch medical image classifiers whose confidence can be believed.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

DEFAULT_URL = "http://127.0.0.1:8080"
FEEDBACK_CHUNK = 1000
KEYWORDS = ("hub", "none", None)  # what --weights may be besides a path

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
StoreOption = Annotated[Path | None, typer.Option(help="Folder of the model store [default: model_store/models].")]
LedgerOption = Annotated[str | None, typer.Option(help="Ledger URL [default: sqlite:///./candor.db].")]
UrlOption = Annotated[str, typer.Option(help="Address of a running `candor serve`.")]


def _settings(**overrides: Any) -> Any:
    from serving.settings import load_settings

    return load_settings(**overrides)


@app.command()
def train(
    data: Annotated[
        str | None,
        typer.Argument(
            help="MedMNIST .npz, image folder, MedMNIST name or 'digits' [default: what CANDOR_DATA holds]."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder to write [default: runs/LOSS-seed-N].")] = None,
    loss: Annotated[str, typer.Option(help="Training loss: ce or dca.")] = "dca",
    beta: Annotated[float, typer.Option(help="Weight of the calibration term of dca.")] = 15.0,
    class_weights: Annotated[str, typer.Option(help="natural, or balanced by class frequency.")] = "natural",
    epochs: Annotated[int | None, typer.Option(help="Passes over the training data.")] = None,
    backbone: Annotated[str | None, typer.Option(help="timm name, or torchvision/NAME, or small_conv.")] = None,
    weights: Annotated[str | None, typer.Option(help=".safetensors file, 'hub', or 'none' (random).")] = None,
    seed: Annotated[int, typer.Option(help="Two runs of one seed are equal.")] = 0,
    json_out: JsonOption = False,
) -> None:
    """Train a classifier on images and measure how calibrated it is; writes a run folder."""
    from pydantic import ValidationError

    from terminal import bars, evaluation_table, print_json, stdout
    from training.backbones import find_weights
    from training.config import TrainConfig, offline_config
    from training.datasets import find_dataset
    from training.run import train as run_training

    settings = _settings()
    # Digits come with a network of their own size; it needs no weights from anywhere.
    base = offline_config(loss=loss, seed=seed) if data == "digits" and backbone is None else TrainConfig()
    given: dict[str, Any] = {"backbone": backbone, "epochs": epochs} | {
        "weights": Path(weights) if weights not in KEYWORDS else weights
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    chosen |= {"loss": loss, "beta": beta, "class_weights": class_weights, "seed": seed}
    try:
        config = TrainConfig.model_validate(base.model_dump() | chosen)
    except ValidationError as error:
        raise typer.BadParameter("; ".join(f"{each['loc'][0]}: {each['msg']}" for each in error.errors())) from error
    if weights is None:
        config = config.model_copy(update={"weights": find_weights(config.backbone, settings.data)})
    with bars() as progress:
        found = find_dataset(data, data_folder=settings.data, cache=_cache(), seed=seed, progress=progress)
        folder = out or Path("runs") / f"{loss}-seed-{seed}"
        result = run_training(config, found.dataset, folder, cache=_cache() / "features", progress=progress)
    if json_out:
        print_json({"run": str(result.folder)} | result.evaluation.as_dict())
        return
    stdout.print(f"{found.note}\n")
    stdout.print(evaluation_table(result.evaluation.as_dict()))
    stdout.print(f"\nRun folder: {result.folder} (pictures in {result.folder / 'plots'})")
    stdout.print(f"Next: candor export {result.folder} --name MODEL")


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="Run folder that `candor train` wrote.")],
    name: Annotated[str, typer.Option(help="Name of the model in the store.")] = "model",
    store: StoreOption = None,
    promote: Annotated[bool, typer.Option("--promote", help="Put the new version into production at once.")] = False,
    json_out: JsonOption = False,
) -> None:
    """Publish a run as the next version of a model: ONNX, card and TorchServe archive, verified against torch."""
    from model_store.store import Store
    from terminal import print_json, stdout
    from training.export import export as export_run

    target = Store(_settings(store=store).store)
    exported = export_run(run, target, name)
    if promote:
        target.promote(name, exported.version)
    folder = target.folder(name, exported.version)
    if json_out:
        print_json({"folder": str(folder), "version": exported.version, "max_difference": exported.max_difference})
        return
    stdout.print(f"Published {name} version {exported.version} in {folder}")
    stdout.print(f"torch and ONNX Runtime differ by at most {exported.max_difference:.1e} on {exported.images} images")
    if not promote:
        stdout.print(f"Next: candor promote {name} {exported.version}")


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on [default: 127.0.0.1].")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one [default: 8080].")] = None,
    store: StoreOption = None,
    ledger: Annotated[str | None, typer.Option(help="Ledger URL, or 'off' [default: sqlite:///./candor.db].")] = None,
) -> None:
    """Serve the production version of every model over HTTP, with ledger and monitor; settings: docs/operations.md."""
    from serving.server import serve as run_server

    raise typer.Exit(run_server(_settings(host=host, port=port, store=store, ledger=ledger)))


@app.command()
def predict(
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.")],
    model: Annotated[
        str | None, typer.Option(help="Bundle folder (without --url), or a model's name (with it).")
    ] = None,
    url: Annotated[str | None, typer.Option(help="Ask a running server instead of loading a bundle.")] = None,
    json_out: JsonOption = False,
) -> None:
    """Classify images by a bundle on disk or by a running server; exit 1 if any image was refused."""
    from model_store.errors import ImageError
    from serving.errors import ServerRefused
    from serving.files import image_files
    from terminal import print_json, stderr, stdout

    classify = _local_classifier(model) if url is None else _remote_classifier(url, model)
    answers, refused = [], 0
    for path in image_files(images):
        try:
            answer = {"image": str(path)} | classify(path)
        except (ImageError, ServerRefused, OSError) as error:
            refused += 1
            answer = {"image": str(path), "error": str(error)}
        answers.append(answer)
        if json_out:
            continue
        if "error" in answer:
            stderr.print(f"{path}: {answer['error']}", style="red", markup=False)
        else:
            note = "  refer to a person" if answer["refer"] else ""
            stdout.print(f"{path}: {answer['label']} {answer['confidence']:.3f}{note}", markup=False)
    if json_out:
        print_json(answers)
    raise typer.Exit(1 if refused else 0)


@app.command()
def feedback(
    file: Annotated[
        Path | None, typer.Argument(help="CSV with a header: prediction_id (or model, request_id), label[, source].")
    ] = None,
    prediction_id: Annotated[str | None, typer.Option(help="One answer's prediction_id, in place of a file.")] = None,
    label: Annotated[str | None, typer.Option(help="The true class of that answer.")] = None,
    url: UrlOption = DEFAULT_URL,
    json_out: JsonOption = False,
) -> None:
    """Send the true labels of answers, once they are known; sending the same again changes nothing."""
    from collections import Counter

    from serving.client import Client
    from serving.files import read_labels
    from terminal import bars, print_json, stdout

    if (file is None) == (prediction_id is None) or (prediction_id is None) != (label is None):
        raise typer.BadParameter("give either a CSV file, or --prediction-id with --label")
    items = read_labels(file) if file else [{"prediction_id": prediction_id, "label": label}]
    results: list[dict[str, Any]] = []
    with Client(url) as client, bars() as progress:
        for start in range(0, len(items), FEEDBACK_CHUNK):
            results += client.feedback(items[start : start + FEEDBACK_CHUNK])
            progress("labels", len(results), len(items))
    if json_out:
        print_json(results)
        return
    for status, count in sorted(Counter(result["status"] for result in results).items()):
        stdout.print(f"{status}: {count}")


@app.command()
def report(
    model: Annotated[str | None, typer.Argument(help="The model [default: the only one in the ledger].")] = None,
    version: Annotated[int | None, typer.Option(help="Version [default: the one registered last].")] = None,
    window: Annotated[str, typer.Option(help="'all', or 'last:N' for the latest N labels.")] = "all",
    ledger: LedgerOption = None,
    json_out: JsonOption = False,
) -> None:
    """Say from the ledger how calibrated a model is on what it really served."""
    from monitoring.ledger.database import Ledger
    from monitoring.report import calibration_report, only_model
    from terminal import print_json, stdout
    from terminal import report_tables as tables

    with Ledger(_ledger_url(ledger)) as opened:
        found = calibration_report(opened, model or only_model(opened), version=version, window=window)
    if json_out:
        print_json(found.as_dict())
        return
    for part in tables(found.as_dict()):
        stdout.print(part)


@app.command()
def recalibrate(
    model: Annotated[str, typer.Argument(help="The model.")],
    version: Annotated[int | None, typer.Option(help="Version to start from [default: production].")] = None,
    last: Annotated[int | None, typer.Option(help="Use the latest N labels only [default: all].")] = None,
    min_labels: Annotated[int, typer.Option(help="Refuse with fewer labels than this.")] = 100,
    store: StoreOption = None,
    ledger: LedgerOption = None,
    json_out: JsonOption = False,
) -> None:
    """Fit a new temperature on labeled answers in the ledger and publish it as the next version (not promoted)."""
    from model_store.store import Store
    from monitoring.ledger.database import Ledger
    from monitoring.recalibration import Selection
    from monitoring.recalibration import recalibrate as fit
    from terminal import print_json, stdout

    with Ledger(_ledger_url(ledger)) as opened:
        done = fit(
            opened,
            Store(_settings(store=store).store),
            model,
            version=version,
            selection=Selection(last=last),
            min_labels=min_labels,
        )
    if json_out:
        print_json(dataclasses.asdict(done) | {"card": done.card.model_dump(mode="json")})
        return
    stdout.print(
        f"{model} version {done.card.version}: temperature {done.old_temperature:.3f} -> {done.new_temperature:.3f}, "
        f"fitted on {done.labels} labels of version {done.parent_version}"
    )
    stdout.print(f"ECE on those labels {done.before.ece:.3f} -> {done.after.ece:.3f} (in sample: wait for new labels)")
    stdout.print(f"Next: candor promote {model} {done.card.version}")


@app.command()
def promote(
    model: Annotated[str, typer.Argument(help="The model.")],
    version: Annotated[int, typer.Argument(help="The version to serve from now on; an older one rolls back.")],
    store: StoreOption = None,
) -> None:
    """Point `production` at a version; running servers switch within a second, without losing a request."""
    from model_store.store import Store
    from terminal import stdout

    Store(_settings(store=store).store).promote(model, version)
    stdout.print(f"{model}: version {version} is in production")


@app.command()
def models(store: StoreOption = None, json_out: JsonOption = False) -> None:
    """List the models in the store, their versions, and how calibrated each was when it was made."""
    from model_store.catalog import catalog
    from model_store.store import Store
    from terminal import catalog_table, print_json, stdout

    opened = Store(_settings(store=store).store)
    entries = [dataclasses.asdict(entry) for entry in catalog(opened)]
    if json_out:
        print_json(entries)
    elif entries:
        stdout.print(catalog_table(entries))
    else:
        stdout.print(f"The store {opened.root} is empty; `candor export` publishes into it.")


@app.command()
def demo(
    data: Annotated[
        Path | None, typer.Option(help="Data set or data folder [default: CANDOR_DATA, download, digits].")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for runs, models, ledger and pictures; made anew.")] = Path(
        "demo-output"
    ),
    seed: Annotated[int, typer.Option(help="Seed of training and of the order of images.")] = 0,
    once: Annotated[bool, typer.Option("--once", help="Exit at the end instead of serving on.")] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write every figure of the story to this file.")
    ] = None,
) -> None:
    """Tell the whole story on real images: train, export, serve, label, drift, recalibrate, switch over."""
    try:
        from demo.story import tell
    except ModuleNotFoundError as error:
        raise typer.BadParameter(f"the demo trains, which needs the extra: pip install '.[train]' ({error})") from error

    tell(source=data, data_folder=_settings().data, cache=_cache(), out=out, seed=seed, once=once, json_file=json_file)


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
    from serving.errors import ServingError
    from training.errors import TrainingError

    return ModelStoreError, MonitoringError, ServingError, TrainingError, HTTPError, DBAPIError, OSError


def _cache() -> Path:
    """Where downloads and frozen features are kept between runs."""
    return Path.home() / ".cache" / "candor"


def _ledger_url(override: str | None) -> str:
    url: str | None = _settings(ledger=override).ledger_url
    if url is None:
        raise typer.BadParameter("the ledger is off; give --ledger or set CANDOR_LEDGER")
    return url


def _local_classifier(folder: str | None) -> Any:
    from model_store.bundle import read_bundle
    from serving.predictor import Predictor

    if folder is None:
        raise typer.BadParameter("give --model FOLDER (a bundle) or --url ADDRESS (a running server)")
    predictor = Predictor(read_bundle(Path(folder)))
    return lambda path: dataclasses.asdict(predictor.classify(path.read_bytes()))


def _remote_classifier(url: str, model: str | None) -> Any:
    from serving.client import Client

    client = Client(url)
    return lambda path: client.predict(path, model=model)


if __name__ == "__main__":
    main()
