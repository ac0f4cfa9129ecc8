"""`candor export`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from unicodedata import normalize

from candor.commands.options import FilePath, Place, any_store, threshold_rule
from candor.commands.verb import verb

if TYPE_CHECKING:  # torch takes seconds to import; --help must not wait for it
    from candor.terminal.published import Exported
    from model_store.bundle.finding_card import ThresholdRule


@verb
def export(
    run: FilePath,
    *,
    name: str = "model",
    calibrator: Literal["temperature", "vector", "none"] = "temperature",
    threshold: Sequence[str] = (),
    store: Place | None = None,
    anyway: bool = False,
    promote: bool = False,
) -> "Exported":
    """Publish a run as the next version of a model: ONNX graph, card and TorchServe archive.

    Example: candor export RUN --name chest --promote

    Args:
        run: Run folder that `candor train` wrote.
        name: Name of the model in the store.
        calibrator: Calibrator in the exported graph.
        threshold: How validation chooses the threshold of findings: youden, half, sensitivity=0.9,
            specificity=0.9 or cost=10 (a missed finding costs 10 false alarms); for one finding
            NAME:RULE. Repeatable (youden).
        anyway: Also export a model that beats no constant answer, and keep a calibrator that test
            contradicts.

    Returns:
        The version: `version`, `card` and `folder`.

    Raises:
        Refused: the run is unfinished or of no use, or the store cannot be written.
    """
    from candor.terminal.progress import working
    from candor.terminal.published import Exported
    from model_store.store.canary import promote_version
    from training.runs.export import export as export_run

    rules = _threshold_rules([threshold] if isinstance(threshold, str) else threshold)
    target = any_store(store)
    with working(f"Writing and checking {name}"):
        exported = export_run(
            Path(run),
            target,
            name,
            calibrator=calibrator,
            anyway=anyway,
            rules=rules,
        )
    if promote:
        promote_version(target, name, exported.version)
    return Exported(exported, target.location(name, exported.version), promote)


def _threshold_rules(given: Sequence[str]) -> "dict[str, ThresholdRule]":
    """The rules by finding; "" for all others. Raises WrongUse for what is no rule."""
    from model_store.bundle.finding_card import ThresholdRule

    rules = {}
    for text in given:
        name, _, rule = text.rpartition(":")
        kind, value = threshold_rule(rule)
        rules[normalize("NFC", name)] = ThresholdRule.model_validate({"kind": kind, "value": value})
    return rules
