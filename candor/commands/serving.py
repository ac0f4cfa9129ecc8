"""`candor serve` and `candor predict`: answers for images, from a server or from a bundle on disk."""

import dataclasses
import gc
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from candor.commands.options import HostOption, JsonOption, PortOption, StoreOption, settings

if TYPE_CHECKING:
    from serving.settings import Settings


def serve(
    host: HostOption = None,
    port: PortOption = None,
    store: StoreOption = None,
    ledger: Annotated[str | None, typer.Option(help="Ledger URL, or 'off' (default: sqlite:///./candor.db).")] = None,
    tune: Annotated[
        bool, typer.Option("--tune", help="First measure for ten seconds which threads and batch suit this machine.")
    ] = False,
) -> None:
    """Serve the production version of every model over HTTP, with ledger and monitoring.

    docs/reference/settings.md lists all settings.
    """
    gc.disable()  # importing frees nothing, yet a dozen collections would take a tenth of the start
    from serving.process.server import serve as run_server

    gc.enable()
    chosen = settings(host=host, port=port, store=store, ledger=ledger)
    raise typer.Exit(run_server(_tuned(chosen) if tune else chosen))


def predict(
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.")],
    model: Annotated[
        str | None, typer.Option(help="Folder of a bundle; with --url, the name of a model on the server.")
    ] = None,
    url: Annotated[str | None, typer.Option(help="Ask this running server instead of loading a bundle.")] = None,
    json_out: JsonOption = False,
) -> None:
    """Classify images with a bundle on disk or a running server.

    The exit code is 1 if an image was refused.
    """
    from candor.terminal.console import print_json, stderr, stdout
    from model_store.errors import ImageError
    from serving.client.client import ServerRefused
    from serving.client.tables import image_files

    classify = _bundle_classifier(model) if url is None else _server_classifier(url, model)
    answers, refused = [], 0
    for path in image_files(images):
        try:
            answer = {"image": str(path)} | classify(path)
        except (ImageError, ServerRefused, OSError) as error:
            refused += 1
            answer = {"image": str(path), "error": _reason(error)}
        answers.append(answer)
        if json_out:
            continue
        if "error" in answer:
            stderr.print(f"{path}: {answer['error']}", style="red")
        else:
            note = "  refer to a person" if answer["refer"] else ""
            stdout.print(f"{path}: {answer['label']} {answer['confidence']:.3f}{note}")
    if json_out:
        print_json(answers)
    raise typer.Exit(1 if refused else 0)


def _reason(error: Exception) -> str:
    """Return what went wrong without the file's name, which is printed in front of it."""
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


def _bundle_classifier(folder: str | None) -> Callable[[Path], dict[str, Any]]:
    from model_store.bundle import read_bundle
    from serving.inference.predictor import Predictor

    if folder is None:
        raise typer.BadParameter("give --model FOLDER (a bundle) or --url ADDRESS (a running server)")
    predictor = Predictor(read_bundle(Path(folder)))
    return lambda path: dataclasses.asdict(predictor.classify(path.read_bytes()))


def _server_classifier(url: str, model: str | None) -> Callable[[Path], dict[str, Any]]:
    from serving.client.client import Client

    client = Client(url)
    return lambda path: client.predict(path, model=model)


def _tuned(known: "Settings") -> "Settings":
    """Return the settings that suit the largest model in production best; prints what was tried."""
    from candor.terminal.console import stderr
    from candor.terminal.tables import table
    from model_store.store import Store
    from serving.inference.tuning import tune, tuned

    store = Store(known.store)
    bundles = [store.read(name) for name in store.models() if store.production(name) is not None]
    if not bundles:
        raise typer.BadParameter(f"{store.root} has no model in production to tune for; run `candor promote` first")
    largest = max(bundles, key=lambda bundle: len(bundle.onnx))
    stderr.print(f"measuring {largest.card.name} version {largest.card.version} for ten seconds ...")
    trials = tune(largest, device=known.device)
    rows = [
        [str(each.threads), "yes" if each.spinning else "no", str(each.batch), f"{each.images_per_s:.1f}"]
        for each in sorted(trials, key=lambda each: -each.images_per_s)
    ]
    stderr.print(table("", ["threads", "spinning", "batch", "images/s"], rows))
    best = trials[0]
    stderr.print(
        f"chosen: CANDOR_THREADS={best.threads} CANDOR_SPINNING={str(best.spinning).lower()} "
        f"CANDOR_MAX_BATCH={best.batch}; set them to start without measuring"
    )
    return tuned(known, best)
