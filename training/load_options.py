"""What a user may say of a data set: the name, type, default, range and help of each option, once.

`training.datasets.load_dataset` takes them by keyword; the command line shows them as options.
Nothing heavy is imported here, since `candor --help` reads this module.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict, cast, get_type_hints

from training.errors import BadChoice

Window = tuple[float, float]


@dataclass(frozen=True)
class LoadOption:
    """How an option is shown.

    Attributes:
        fixed: what the recipe `fixed` of a training takes; `{}` in the help stands for it.
        within: least and largest value.
        shown: what stands for the value in the help.
        rare: only `--help-rare` shows it.
        read: reads the value from text. Raises ValueError.
    """

    help: str
    default: object = None
    fixed: object = None
    within: tuple[float | None, float | None] | None = None
    shown: str | None = None
    rare: bool = False
    read: Callable[[str], object] | None = None

    @property
    def text(self) -> str:
        """The help as it is shown."""
        return self.help.replace("{}", str(self.fixed))


def window_of(given: str | Sequence[float] | None) -> Window | None:
    """The center and the width of a window. Raises BadChoice for anything else."""
    if given is None:
        return None
    try:
        parts = given.split(",") if isinstance(given, str) else given
        center, width = (float(part) for part in parts)
    except ValueError as error:
        raise BadChoice(
            f"got the window {given!r}; expected CENTER,WIDTH, such as 40,80"
        ) from error
    if width < 1:
        raise BadChoice(f"got a window width of {width:g}; expected 1 or more")
    return center, width


class ImageOptions(TypedDict, total=False):
    """Of images with labels anywhere, also those that prove an imported model."""

    window: Annotated[
        str | Sequence[float] | None,
        LoadOption(
            "Window for gray DICOM (default: the file's).",
            shown="CENTER,WIDTH",
            rare=True,
            read=window_of,
        ),
    ]
    group: Annotated[
        str | None,
        LoadOption(
            "Column of the patient or slide (default: found by its name); none if each image "
            "stands alone."
        ),
    ]
    group_pattern: Annotated[
        str | None,
        LoadOption("Regular expression on the path; its first group is the patient or slide."),
    ]


class LoadOptions(ImageOptions, total=False):
    """Of a data set."""

    layout: Annotated[str | None, LoadOption("How the images are stored (default: detected).")]
    allow_leakage: Annotated[
        bool, LoadOption("Continue though splits share images or patients.", False)
    ]
    max_corrupt: Annotated[
        float,
        LoadOption(
            "Share of images that may be missing or damaged.",
            0.01,
            within=(0, 1),
            shown="SHARE",
            rare=True,
        ),
    ]
    first_frame: Annotated[
        bool, LoadOption("Use the first frame of DICOM files that have several.", False, rare=True)
    ]
    findings: Annotated[
        str | Sequence[str] | None,
        LoadOption(
            "Findings: columns to read, or those looked for in lists; 'A|B', or '*' for all."
        ),
    ]
    exclusive: Annotated[bool, LoadOption("Labels that look like findings are classes.", False)]
    uncertain: Annotated[
        Literal["missing", "present", "absent"],
        LoadOption("What a finding's label of -1 (uncertain) is taken for.", "missing", rare=True),
    ]


def options_of(declared: type) -> Mapping[str, tuple[Any, LoadOption]]:
    """The type of each option and how it is shown."""
    hints = get_type_hints(declared, include_extras=True)
    return {name: (each.__origin__, each.__metadata__[0]) for name, each in hints.items()}


def completed(given: LoadOptions) -> LoadOptions:
    """The options with the defaults of those that are not given. Raises TypeError."""
    known = options_of(LoadOptions)
    if unknown := given.keys() - known:
        raise TypeError(f"unknown options {sorted(unknown)}; known: {', '.join(known)}")
    merged: dict[str, object] = {name: option.default for name, (_, option) in known.items()}
    merged |= given
    merged["window"] = window_of(given.get("window"))
    named = given.get("findings")
    merged["findings"] = named if isinstance(named, str | None) else "|".join(named)
    return cast(LoadOptions, merged)
