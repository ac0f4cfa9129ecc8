"""One training run, from data to evaluation, in one run folder.

    RUN/config.json            choices, library versions, data fingerprint (RunRecord)
    RUN/checkpoint.safetensors every tensor of the classifier: no other weights are needed
    RUN/data.json              images by class and split, what was left out or repeated
    RUN/excluded.csv           images that were left out
    RUN/history.csv            a row per epoch and head
    RUN/metrics.json           temperature and measures
    RUN/calibrators.json       the fitted calibrators
    RUN/predictions.npz        the logits and labels behind them, and the patients if known
    RUN/finished.json          when; everything else is the same in a run that is repeated
    RUN/training_images.bin    hashes of the images that the network has seen
    RUN/scope.npz              features of images for the scope check of its bundles
    RUN/samples.npy            a few validation inputs, uint8 (n, C, H, W), for checking an export
    RUN/plots/*.png            reliability, risk and coverage, training curves

The folder is made in a hidden one and renamed when it is complete (`training.runs.folder`). So an
interrupted run never looks finished, and the same request resumes it. A run that diverges is
discarded; any other interrupted run can be resumed.
"""

import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

from safetensors.torch import save_file

from calibration.wording import parameter
from training.datasets import Dataset, write_report
from training.errors import OutOfMemory
from training.evaluation.evaluation import Evaluation
from training.evaluation.findings import FindingsEvaluation
from training.fitting.history import Epoch, write_history
from training.losses import strength
from training.networks.backbones import require_backbone, weights_digest
from training.networks.classifier import Classifier
from training.processes.distributed import Group
from training.processes.execution import out_of_memory
from training.progress import Progress, silent
from training.runs.committee import predict_committee
from training.runs.config import RecipeRecord, RunRecord, TrainConfig
from training.runs.folder import open_run_folder, require_new, write_finish
from training.runs.recipe import TrainingPlan, differing, search
from training.runs.references import input_reference, write_references
from training.runs.steps import Features, evaluate, prepare
from training.runs.task import Judgment, require_classes, task_of

LIBRARIES = ("numpy", "pillow", "timm", "torch", "torchvision")
_PARTS = 3  # of the stage "evaluation": measures, references for the card, the run folder


@dataclass(frozen=True)
class RunResult:
    """A finished run: folder, record, history and evaluation."""

    folder: Path
    record: RunRecord
    history: list[Epoch]
    evaluation: Evaluation | FindingsEvaluation

    @cached_property
    def judgment(self) -> Judgment:
        return task_of(self.record).judge(self.evaluation, self.record)


def refuse_early(config: TrainConfig, out: Path) -> None:
    """Refuse what needs no data to be refused: an unknown loss, option or backbone, and a run that
    exists.

    Raises UnknownName, BadLoss, WeightsNotFound, RunExists.
    """
    strength(config.loss, config.loss_settings)
    require_backbone(config.backbone, config.weights)
    require_new(out)


def train(
    config: TrainConfig | TrainingPlan,
    dataset: Dataset,
    out: Path,
    *,
    cache: Path | None = None,
    restart: bool = False,
    pictures: bool = True,
    group: Group | None = None,
    notice: Callable[[str], None] | None = None,
    progress: Progress = silent,
) -> RunResult:
    """Train on `dataset` by `config` and write the run folder `out`, which must not exist.

    Of a plan (`training.runs.recipe.automatic`), every candidate is trained and the best on
    validation is kept.

    An interrupted run resumes after its last whole epoch, unless `restart` is true. `cache` keeps
    frozen features between runs; without it they are computed again. `group` are the processes that
    share the work; all of them call this with the same arguments, and the first one writes.
    `notice` receives a sentence when an interrupted run resumes.
    Progress stages are "weights from the hub", "features SPLIT" (images), "train LOSS" (epochs) and
    "evaluation".
    `pictures=False` skips the plots, which take seconds to draw.

    Raises RunExists, RunBusy, RunDiffers, WeightsNotFound, BadWeights, UnknownName, BadLoss,
    BadDataset, TrainingDiverged, OutOfMemory, DeviceNotFound.
    """
    plan = config if isinstance(config, TrainingPlan) else TrainingPlan((config,))
    if plan.candidates[0].head == "blend":
        require_classes(dataset, ", and the head blend is for exclusive classes: choose another")
    group, first = group or Group.alone(), _with_strength(plan.candidates[0])
    candidates = plan.candidates if len(plan.candidates) > 1 else (first,)
    request = first.model_dump(mode="json") | {
        "data": dataset.fingerprint,
        "processes": group.size,
        "candidates": [differing(each, candidates) for each in candidates],
    }
    # Other processes than the first have hidden folders of their own and only read what the first
    # one wrote.
    own = out if group.leads else out.with_name(f"{out.name}-process-{group.rank}")
    with (
        open_run_folder(own, request, restart=restart or not group.leads) as run_folder,
        _out_of_memory(first),
    ):
        if run_folder.begun and notice:
            notice(
                f"{out} was interrupted; resuming after its last whole epoch "
                f"({parameter('restart', True)} starts over)"
            )
        cache = cache or run_folder.part / "cache"
        features = prepare(dataset, first, cache=cache, group=group, progress=progress)
        model, scores = search(
            features, candidates, snapshot=run_folder.snapshot, progress=progress
        )
        progress("evaluation", 0, _PARTS)
        evaluation = evaluate(predict_committee(model, features), dataset.classes)
        progress("evaluation", 1, _PARTS)
        recipe = RecipeRecord(reasons=plan.reasons, candidates=scores) if plan.reasons else None
        record = _record(features, _with_strength(model.config), recipe)
        result = RunResult(out, record, model.history, evaluation)
        if group.leads:
            folder = run_folder.fresh_run()
            write_references(folder, model.network, dataset, features.spec, features.device)
            progress("evaluation", 2, _PARTS)
            _write(folder, result, model.network, pictures=pictures)
            write_report(dataset, folder)
            run_folder.finish()
            progress("evaluation", _PARTS, _PARTS)
    return result


@contextmanager
def _out_of_memory(config: TrainConfig) -> Iterator[None]:
    """Say what to do when memory runs out."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        raise OutOfMemory(batch_size=config.batch_size, micro_batch=config.micro_batch) from error


def _with_strength(config: TrainConfig) -> TrainConfig:
    """The configuration with the default beta of its loss spelled out."""
    return config.model_copy(update={"beta": strength(config.loss, config.loss_settings)})


def _record(features: Features, config: TrainConfig, recipe: RecipeRecord | None) -> RunRecord:
    dataset = features.dataset
    leads = features.group.leads
    return RunRecord(
        config=config,
        recipe=recipe,
        dataset=dataset.name,
        fingerprint=dataset.fingerprint,
        classes=dataset.classes,
        has_findings=dataset.has_findings,
        counts=dataset.counts,
        spec=features.spec,
        backbone_sha256=weights_digest(features.trunk.module),
        loaded=dataset.loaded,
        processes=features.group.size,
        device=features.device.type,
        input_reference=input_reference(dataset.splits["val"], features.spec) if leads else None,
        libraries={"python": platform.python_version()}
        | {name: version(name) for name in LIBRARIES},
    )


def _write(folder: Path, result: RunResult, network: Classifier, *, pictures: bool) -> None:
    record, evaluation = result.record, result.evaluation
    (folder / "config.json").write_text(record.model_dump_json(indent=2) + "\n")
    save_file(network.cpu().state_dict(), folder / "checkpoint.safetensors")
    write_history(folder / "history.csv", result.history)
    write_finish(folder)
    evaluation.write(folder)
    if pictures:
        title = f"{record.dataset}, {record.config.title}"
        task_of(record).plot(folder / "plots", evaluation, result.history, title=title)
