"""`candor export`."""

from pathlib import Path
from typing import Annotated

import typer

from candor.commands.options import JsonOption, StoreOption, settings


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
    exported = export_run(run, target, name, calibrator=EXPORTABLE[calibrator], anyway=anyway)
    if promote:
        promote_version(target, name, exported.version)
    folder, verified = target.folder(name, exported.version), exported.verification
    if json_out:
        print_json({"folder": str(folder), "version": exported.version, "max_difference": verified.max_difference})
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
    if promote:
        stdout.print(f"{name}: version {exported.version} is in production. Next: candor serve")
    else:
        stdout.print(f"Next: candor promote {name} {exported.version}")
