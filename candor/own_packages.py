"""Whether the package `calibration` is Candor's: PyPI's `uncertainty-calibration` installs one of the same name."""

from importlib.util import find_spec

OWN = "candor-calibration"  # calibration.DISTRIBUTION, repeated because that package is what is in doubt


class ForeignCalibration(ImportError):
    """Another distribution's `calibration` is in the place of Candor's."""


def require_own_calibration() -> None:
    """Raise ForeignCalibration if Python finds another distribution's package `calibration`."""
    try:
        import calibration

        owner = getattr(calibration, "DISTRIBUTION", None)
    except ImportError:  # the other package may lack what it needs itself
        owner = None
    if owner != OWN:
        spec = find_spec("calibration")
        where = spec.origin if spec else None
        raise ForeignCalibration(
            f"Candor needs its own package `calibration`, but Python finds another one in {where}: uninstall the "
            "distribution that it belongs to (for example `pip uninstall uncertainty-calibration`) and reinstall "
            "Candor, or take that folder off PYTHONPATH."
        )
