"""`candor export`."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from candor.commands.options import JsonOption, StoreOption, cache_folder, settings

if TYPE_CHECKING:  # torch takes seconds to import; --help must not wait for it
    from training.datasets import Dataset


def export(
    run: Annotated[Path, typer.Argument(help="Run folder that `candor train` wrote.")],
    name: Annotated[str, typer.Option(help="Name of the model in the store.")] = "model",
    calibrator: Annotated[
        str,
        typer.Option(
            help="Calibrator in the exported graph: temperature, perturbed, vector, histogram, isotonic or none. "
            "Use perturbed only if you expect a shift and have no labels from the place of use; without a shift it "
            "makes confidence too low."
        ),
    ] = "temperature",
    precision: Annotated[
        str,
        typer.Option(
            help="Precisions to publish, between commas: float32 (always there), float16 (for GPUs) and int8. Each "
            "has a calibrator of its own, measured on validation."
        ),
    ] = "float32",
    max_accuracy_loss: Annotated[
        float,
        typer.Option(min=0, max=1, help="Share of validation images that a precision may answer worse than float32."),
    ] = 0.01,
    data: Annotated[
        str | None,
        typer.Option(help="The data of the run, for other precisions than float32 (default: where the run found it)."),
    ] = None,
    store: StoreOption = None,
    anyway: Annotated[
        bool,
        typer.Option(
            "--anyway", help="Also export a model that beats no constant answer, or that never answers a class."
        ),
    ] = False,
    promote: Annotated[
        bool, typer.Option("--promote", help="Put the new version into production immediately.")
    ] = False,
    json_out: JsonOption = False,
) -> None:
    """Publish a run as the next version of a model: ONNX graph, card and TorchServe archive, checked against torch.

    Example: candor export RUN --name chest --promote
    """
    from calibration.wording import counted
    from candor.terminal.console import print_json, stdout
    from candor.terminal.variants import variant_table
    from model_store.canary import promote_version
    from model_store.store import Store
    from training.runs.export import EXPORTABLE
    from training.runs.export import export as export_run

    if calibrator not in EXPORTABLE:
        raise typer.BadParameter(
            f"got {calibrator!r}; choose one of {', '.join(EXPORTABLE)}",
            param_hint="--calibrator",
        )
    target = Store(settings(store=store).store)
    precisions = [each.strip() for each in precision.split(",")]
    exported = export_run(
        run,
        target,
        name,
        calibrator=EXPORTABLE[calibrator],
        anyway=anyway,
        precisions=precisions,
        dataset=_data(run, data) if set(precisions) != {"float32"} else None,
        max_accuracy_loss=max_accuracy_loss,
    )
    if promote:
        promote_version(target, name, exported.version)
    folder, verified = target.folder(name, exported.version), exported.verification
    if json_out:
        print_json(
            {
                "folder": str(folder),
                "version": exported.version,
                "max_difference": verified.max_difference,
                "precisions": list(exported.card.precisions),
                "refused": {each.precision: each.reason for each in exported.refused},
            }
        )
        return
    stdout.print(f"Published {name} version {exported.version} in {folder}")
    if calibrator == "perturbed":
        gap = exported.card.calibration.measures["signed_gap"] or 0.0
        stdout.print(
            "This temperature was fitted on perturbed images. On unperturbed validation images, mean confidence minus\n"
            f"accuracy is {gap:+.3f}. Without a shift of the images the model is off by that much in use: then export "
            "with\n--calibrator temperature."
        )
    images = counted(verified.images, "real image")
    stdout.print(f"torch and ONNX Runtime differ by at most {verified.max_difference:.1e} on {images}")
    if exported.card.variants:
        stdout.print(variant_table(exported.card))
    for each in exported.refused:
        stdout.print(each.reason, soft_wrap=True)
    if promote:
        stdout.print(f"{name}: version {exported.version} is in production. Next: candor serve")
    else:
        stdout.print(f"Next: candor promote {name} {exported.version}")


def _data(run: Path, given: str | None) -> "Dataset":
    """The data of a run, loaded as the run loaded it."""
    from candor.terminal.progress import bars
    from training.datasets import LoadedFrom, load_dataset
    from training.errors import BadRun
    from training.runs.config import read_record

    loaded = read_record(run).loaded
    source = given or (loaded.source if loaded else None)
    if source is None:
        raise BadRun(f"{run} does not say where its data is: give it with --data")
    arguments = dataclasses.asdict(loaded or LoadedFrom(source)) | {"source": source}
    with bars() as progress:
        return load_dataset(**arguments, cache=cache_folder(), progress=progress)
