"""Candor from Python: measure calibration, train, serve and watch a classifier.

Each name below is imported from its package when it is first used, so `import candor` itself is
quick and needs neither torch nor ONNX Runtime. Training needs the extra `train`.

    import candor

    candor.measure(probabilities, labels).ece             # how calibrated are these predictions?
    found = candor.calibrate(probabilities, labels)       # a report in notebooks, and a calibrator:
    found.transform(new_probabilities)
    found.save("calibrator.onnx")
    candor.fit_temperature(logits, labels)                # the temperature that calibrates best

    dataset = candor.load_dataset("pneumoniamnist")
    run = candor.train(candor.automatic(dataset), dataset, Path("runs/first"))
    store = candor.Store(Path("models"))
    candor.export(run.folder, store, "pneumonia")

    candor.import_model(Path("theirs.onnx"), store, "theirs", data=Path("labeled"))

    predictor = candor.open_predictor(store.read("pneumonia", 1))
    predictor.classify(Path("x-ray.png").read_bytes())    # or ask a server:
    candor.Client(url).predict(...)

    with candor.Ledger("sqlite:///candor.db") as ledger:  # what a server has recorded
        candor.calibration_report(ledger, "pneumonia").diagnosis.state
"""

from importlib import import_module
from typing import TYPE_CHECKING

from candor.import_conflicts import require_own_packages_for

if TYPE_CHECKING:
    from calibration.calibrators.temperature import apply_temperature as apply_temperature
    from calibration.calibrators.temperature import fit_temperature as fit_temperature
    from calibration.measures.summary import Measures as Measures
    from candor.predictions.calibration import Calibration as Calibration
    from candor.predictions.calibration import calibrate as calibrate
    from candor.predictions.findings_calibration import FindingsCalibration as FindingsCalibration
    from candor.predictions.findings_calibration import FindingsMeasures as FindingsMeasures
    from candor.predictions.measurement import measure as measure
    from model_store.bundle.bundle import Bundle as Bundle
    from model_store.bundle.bundle import read_bundle as read_bundle
    from model_store.bundle.card import Card as Card
    from model_store.foreign.model_import import ImportedModel as ImportedModel
    from model_store.foreign.model_import import import_model as import_model
    from model_store.store.store import Store as Store
    from monitoring.ledger.database import Ledger as Ledger
    from monitoring.recalibration import recalibrate as recalibrate
    from monitoring.reports.report import Report as Report
    from monitoring.reports.report import calibration_report as calibration_report
    from serving.client import AsyncClient as AsyncClient
    from serving.client import Client as Client
    from serving.client import ServerRefused as ServerRefused
    from serving.inference.predictor import Predictor as Predictor
    from serving.inference.predictor import open_predictor as open_predictor
    from training.datasets import Dataset as Dataset
    from training.datasets import load_dataset as load_dataset
    from training.evaluation.estimator import ProbabilityCalibrator as ProbabilityCalibrator
    from training.runs.config import TrainConfig as TrainConfig
    from training.runs.export import export as export
    from training.runs.recipe import automatic as automatic
    from training.runs.run import train as train

    __version__: str

_MODULES = {
    "calibration.measures.summary": ("Measures",),
    "calibration.calibrators.temperature": ("apply_temperature", "fit_temperature"),
    "candor.predictions.calibration": ("Calibration", "calibrate"),
    "candor.predictions.findings_calibration": ("FindingsCalibration", "FindingsMeasures"),
    "candor.predictions.measurement": ("measure",),
    "model_store.bundle.bundle": ("Bundle", "read_bundle"),
    "model_store.bundle.card": ("Card",),
    "model_store.foreign.model_import": ("ImportedModel", "import_model"),
    "model_store.store.store": ("Store",),
    "monitoring.ledger.database": ("Ledger",),
    "monitoring.recalibration": ("recalibrate",),
    "monitoring.reports.report": ("Report", "calibration_report"),
    "serving.client": ("AsyncClient", "Client", "ServerRefused"),
    "serving.inference.predictor": ("Predictor", "open_predictor"),
    "training.datasets": ("Dataset", "load_dataset"),
    "training.evaluation.estimator": ("ProbabilityCalibrator",),
    "training.runs.config": ("TrainConfig",),
    "training.runs.export": ("export",),
    "training.runs.recipe": ("automatic",),
    "training.runs.run": ("train",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}
__all__ = sorted([*_MODULE_OF, "__version__"])


def _load(name: str) -> object:
    if name == "__version__":
        from model_store.installation import release

        return release()
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module 'candor' has no attribute {name!r}")
    require_own_packages_for(module)
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if not module.startswith("training"):
            raise
        from model_store.installation import install_command

        raise ImportError(
            f"candor.{name} needs more packages ({error}): {install_command('train')}"
        ) from error


if not TYPE_CHECKING:  # for a type checker, these would make every name valid

    def __getattr__(name):
        globals()[name] = value = _load(name)
        return value

    def __dir__():
        return sorted({*globals(), *__all__})
