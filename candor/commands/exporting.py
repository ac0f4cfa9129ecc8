"""`candor export`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from unicodedata import normalize

import typer

from candor.commands.options import (
    JsonOption,
    PromoteOption,
    StoreOption,
    argument,
    option,
    settings,
    threshold_rule,
)

if TYPE_CHECKING:  # torch takes seconds to import; --help must not wait for it
    from model_store.bundle.finding_card import ThresholdRule

Form = Literal["bundle", "triton", "kserve"]


def export(
    run: Annotated[
        Path,
        argument(
            "Run folder that `candor train` wrote; with --format also the folder of a bundle."
        ),
    ],
    name: Annotated[str, option("Name of the model in the store.")] = "model",
    calibrator: Annotated[
        Literal["temperature", "vector", "none"], option("Calibrator in the exported graph.")
    ] = "temperature",
    threshold: Annotated[
        list[str] | None,
        option(
            "How validation chooses the threshold of findings: youden, half, sensitivity=0.9, "
            "specificity=0.9 or cost=10 (a missed finding costs 10 false alarms); for one finding "
            "NAME:RULE. Repeatable (youden).",
            "--threshold",
        ),
    ] = None,
    store: StoreOption = None,
    anyway: Annotated[
        bool,
        option(
            "Also export a model that beats no constant answer, and keep a calibrator that test "
            "contradicts.",
            "--anyway",
        ),
    ] = False,
    promote: PromoteOption = False,
    form: Annotated[
        Form,
        option(
            "bundle: the store alone. triton, kserve: also a model repository for these servers, "
            "in --out.",
            "--format",
        ),
    ] = "bundle",
    out: Annotated[Path | None, option("Folder of the repository, for triton and kserve.")] = None,
    storage_uri: Annotated[
        str, option("For kserve: where you copy OUT/models to, such as s3://bucket/models.")
    ] = "pvc://models",
    json_out: JsonOption = False,
) -> object:
    """Publish a run as the next version of a model: ONNX graph, card and TorchServe archive.

    A run is published in the store, as a bundle. Another server gets its
    repository from that bundle, or from any bundle that the store has.

    Example: candor export RUN --name chest --promote
    """
    from model_store.bundle.bundle import CARD_FILE

    if (form == "bundle") != (out is None):
        missing = (
            "--out, the folder of the repository" if out is None else "--format triton or kserve"
        )
        raise typer.BadParameter(f"--format and --out go together; give {missing}")
    if out is not None and (run / CARD_FILE).is_file():
        written = _write_repository(run, form, out, storage_uri)
        return {"folder": str(written)} if json_out else _repository_sentence(written, form, out)
    from candor.terminal.progress import working
    from candor.terminal.published import Exported
    from model_store.lifecycle.canary import promote_version
    from training.runs.export import export as export_run

    rules = _threshold_rules(threshold or ())
    target = settings(store=store).opened_store
    with working(f"Writing and checking {name}"):
        exported = export_run(
            run,
            target,
            name,
            calibrator=calibrator,
            anyway=anyway,
            rules=rules,
        )
    if promote:
        promote_version(target, name, exported.version)
    folder, repository = target.location(name, exported.version), None
    if out is not None:
        published = target.require(name, exported.version)
        written = _write_repository(published, form, out, storage_uri)
        repository = str(written), _repository_sentence(written, form, out)
    made = Exported(exported, folder, promote, repository)
    return made.as_dict() if json_out else made


def _threshold_rules(given: Sequence[str]) -> "dict[str, ThresholdRule]":
    """The rules by finding; "" for all others. A usage error for what is no rule."""
    from model_store.bundle.finding_card import ThresholdRule

    rules = {}
    for text in given:
        name, _, rule = text.rpartition(":")
        kind, value = threshold_rule(rule)
        rules[normalize("NFC", name)] = ThresholdRule.model_validate({"kind": kind, "value": value})
    return rules


def _write_repository(bundle: Path, form: Form, out: Path, storage_uri: str) -> Path:
    """Write a bundle for another server; return the version's folder or the service's file."""
    from model_store.bundle.bundle import read_bundle
    from model_store.bundle.repository import write_kserve, write_triton

    found = read_bundle(bundle)
    return (
        write_triton(found, out)
        if form == "triton"
        else write_kserve(found, out, storage_uri=storage_uri)
    )


def _repository_sentence(written: Path, form: Form, out: Path) -> str:
    if form == "triton":
        return f"Wrote {written}. Next: tritonserver --model-repository={out.absolute()}"
    return (
        f"Wrote {written}. Next: copy {out / 'models'} to the storageUri in it, then kubectl "
        f"apply -f {written}"
    )
