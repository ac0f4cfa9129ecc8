"""`candor train` and `candor export`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from commands.options import JsonOption, StoreOption, cache_folder, settings

KEYWORDS = ("hub", "none", None)  # what --weights may be besides a path


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

    known = settings()
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
        config = config.model_copy(update={"weights": find_weights(config.backbone, known.data)})
    with bars() as progress:
        found = find_dataset(data, data_folder=known.data, cache=cache_folder(), seed=seed, progress=progress)
        folder = out or Path("runs") / f"{loss}-seed-{seed}"
        result = run_training(config, found.dataset, folder, cache=cache_folder() / "features", progress=progress)
    if json_out:
        print_json({"run": str(result.folder)} | result.evaluation.as_dict())
        return
    stdout.print(f"{found.note}\n")
    stdout.print(evaluation_table(result.evaluation.as_dict()))
    stdout.print(f"\nRun folder: {result.folder} (pictures in {result.folder / 'plots'})")
    stdout.print(f"Next: candor export {result.folder} --name MODEL")


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

    target = Store(settings(store=store).store)
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
