"""Candor from Python: measure calibration, train, serve and watch a classifier.

Each name below is imported from its package when it is first used, so `import candor` itself is
quick and needs neither torch nor ONNX Runtime. Training needs the extra `train`. The command line
is the shell of these functions (candor/shell.py); what they return shows itself in a notebook.

    import candor

    candor.measure(probabilities, labels).ece             # how calibrated are these predictions?
    found = candor.calibrate(probabilities, labels)       # the same as a report, and a calibrator
    found.transform(new_probabilities)                    # calibrated; found.save("c.onnx")

    run = candor.train("images", out="runs/first")        # or candor.import_model("theirs.onnx")
    candor.export(run, name="chest", promote=True)
    server = candor.serve()                               # a process of its own
    server.predict("x-ray.png")
    candor.report("chest")                                # what labels say of its answers

    predictor = candor.open_predictor(candor.Store(Path("models")).read("chest"))
    predictor.classify(Path("x-ray.png").read_bytes())    # without a server
"""

from importlib import import_module
from typing import TYPE_CHECKING

from candor.import_conflicts import require_own_packages_for

if TYPE_CHECKING:
    from calibration.calibrators.temperature import apply_temperature as apply_temperature
    from calibration.calibrators.temperature import fit_temperature as fit_temperature
    from calibration.findings.measures import FindingsMeasures as FindingsMeasures
    from calibration.measures.summary import Measures as Measures
    from candor.commands.calibrating import calibrate as calibrate
    from candor.commands.exporting import export as export
    from candor.commands.importing import import_model as import_model
    from candor.commands.monitoring import report as report
    from candor.commands.recalibration import recalibrate as recalibrate
    from candor.commands.serving import serve as serve
    from candor.commands.store_changes import promote as promote
    from candor.commands.training import train as train
    from candor.commands.verb import Refused as Refused
    from candor.predictions.calibration import Calibration as Calibration
    from candor.predictions.findings_calibration import FindingsCalibration as FindingsCalibration
    from candor.predictions.reading import measure as measure
    from model_store.bundle.bundle import Bundle as Bundle
    from model_store.bundle.bundle import read_bundle as read_bundle
    from model_store.bundle.card import Card as Card
    from model_store.store.store import Store as Store
    from monitoring.ledger.database import Ledger as Ledger
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

    __version__: str

_MODULES = {
    "calibration.findings.measures": ("FindingsMeasures",),
    "calibration.measures.summary": ("Measures",),
    "calibration.calibrators.temperature": ("apply_temperature", "fit_temperature"),
    "candor.commands.calibrating": ("calibrate",),
    "candor.commands.exporting": ("export",),
    "candor.commands.importing": ("import_model",),
    "candor.commands.monitoring": ("report",),
    "candor.commands.recalibration": ("recalibrate",),
    "candor.commands.serving": ("serve",),
    "candor.commands.store_changes": ("promote",),
    "candor.commands.training": ("train",),
    "candor.commands.verb": ("Refused",),
    "candor.predictions.calibration": ("Calibration",),
    "candor.predictions.findings_calibration": ("FindingsCalibration",),
    "candor.predictions.reading": ("measure",),
    "model_store.bundle.bundle": ("Bundle", "read_bundle"),
    "model_store.bundle.card": ("Card",),
    "model_store.store.store": ("Store",),
    "monitoring.ledger.database": ("Ledger",),
    "monitoring.reports.report": ("Report", "calibration_report"),
    "serving.client": ("AsyncClient", "Client", "ServerRefused"),
    "serving.inference.predictor": ("Predictor", "open_predictor"),
    "training.datasets": ("Dataset", "load_dataset"),
    "training.evaluation.estimator": ("ProbabilityCalibrator",),
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
