"""Whether Candor's packages are its own: others, too, have such common names.

PyPI's `uncertainty-calibration`, for example, installs a package `calibration` too. Of two
distributions that install the same name, the later one overwrites the earlier one without a word,
and uninstalling it leaves a hole. So Candor refuses to work beside such a distribution, whichever
came first (decision 62).
"""

import re
import sys
from collections.abc import Iterable
from functools import cache
from importlib.metadata import Distribution, distributions
from importlib.util import find_spec
from pathlib import Path
from typing import Final

# calibration.DISTRIBUTION, repeated because that package is what is in doubt
OWN: Final = "candor-calibration"
ROOMS: Final = (
    "calibration",
    "model_store",
    "monitoring",
    "hosting",
    "console",
    "serving",
    "training",
)
_NEEDS: Final = {
    "calibration": ROOMS[:1],
    "model_store": ROOMS[:2],
    "monitoring": ROOMS[:3],
    "training": ROOMS,
}
_INSTALLED: Final = re.compile(rf"^(candor|{'|'.join(ROOMS)})(?=/|\.py,)", re.MULTILINE)
_ROOT: Final = Path(__file__).resolve().parents[1]


class ForeignPackage(ImportError):
    """Another package has the name of one of Candor's, or has taken its place."""


def require_own_packages_for(module: str) -> None:
    """Raise ForeignPackage if one of the packages that `module` builds on is not Candor's."""
    needs = (
        ROOMS
        if module.startswith("candor.commands.")
        else _NEEDS.get(module.split(".")[0], ROOMS[:-1])
    )
    require_own_packages(needs)


@cache
def require_own_packages(rooms: tuple[str, ...] = ROOMS) -> None:
    """Raise ForeignPackage if another distribution owns one of `rooms`, or is found for it."""
    for name, owner in _other_owners().items():
        if name in ("candor", *rooms):
            raise ForeignPackage(
                f"Candor and the distribution {owner} both install a package `{name}`, and only "
                "one of them can work: install Candor into a virtual environment of its own, or "
                f"uninstall the other with `{sys.executable} -m pip uninstall {owner}` and then "
                "reinstall Candor."
            )
    for room in rooms:
        _require_own_place(room)


def _require_own_place(room: str) -> None:
    """Raise ForeignPackage if Python does not find the package `room` beside this one."""
    spec = find_spec(room)
    if spec is not None and spec.origin is not None:
        found = Path(spec.origin)
    else:  # a folder without __init__.py, or nothing
        found = Path(next(iter((spec and spec.submodule_search_locations) or ()), _ROOT / room))
    if found.resolve() == _ROOT / room:
        raise ForeignPackage(
            f"Candor's package `{room}` is no longer complete in {_ROOT / room}: uninstalling "
            "another distribution may have taken it away. Reinstall Candor."
        )
    if found.resolve() != _ROOT / room / "__init__.py":
        raise ForeignPackage(
            f"Candor needs its own package `{room}`, but Python finds another one in {found}: "
            "rename it, start Python from another folder, take its folder off PYTHONPATH, or "
            "uninstall what it belongs to and reinstall Candor."
        )


def _other_owners() -> dict[str, str]:
    """The name of another distribution for each of Candor's names that it installs."""
    found: dict[str, str] = {}
    for each in distributions():
        names = _names_of(each)
        if names and (owner := each.name) != OWN:
            found |= dict.fromkeys(names, owner)
    return found


def _names_of(distribution: Distribution) -> Iterable[str]:
    """Those of Candor's names that a distribution installs, from its short list if any."""
    listed = distribution.read_text("top_level.txt")
    if listed is None:
        return set(_INSTALLED.findall(distribution.read_text("RECORD") or ""))
    return set(listed.split()) & {"candor", *ROOMS}
