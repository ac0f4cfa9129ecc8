"""Named grids, and where their data sets are in the data folder."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from calibration.wording import parameter
from training.datasets import Dataset, load_dataset
from training.datasets.errors import DataNotFound
from training.experiments.grid import Grid, Variant, parse
from training.load_options import LoadOptions
from training.losses import LOSSES
from training.networks.backbones import SMALL
from training.progress import Progress, silent
from training.runs.config import offline_config
from training.runs.task import require_classes

# Each split numbers its own patients.
MENDELEY_PATIENT = r"((?:train|test)/\w+/[A-Za-z0-9]*-?[A-Za-z]*-?\d+)"


@dataclass(frozen=True)
class Place:
    """Where a preset looks for a data set, the first existing path, and how it loads it."""

    paths: tuple[str, ...]
    arguments: LoadOptions = field(default_factory=LoadOptions)


PLACES = {
    "pneumoniamnist": Place(("pneumoniamnist.npz",)),
    "chest_xray3": Place(("chest_xray3",)),
    "Mendeley": Place(
        ("chest_xray", "chest_xray/chest_xray"),
        {"group_pattern": MENDELEY_PATIENT, "allow_leakage": True},
    ),
    "Kather": Place(("Kather_texture_2016_image_tiles_5000",), {"group": "none"}),
    "RSNA": Place(("rsna",), {"window": (40.0, 80.0)}),
    "DDSM": Place(("CBIS-DDSM",)),
}
PAPER_NETWORKS = {
    "AlexNet": "torchvision/alexnet",
    "ResNet": "torchvision/resnet50",
    "DenseNet": "torchvision/densenet121",
    "SqueezeNet": "torchvision/squeezenet1_1",
}
METHODS = tuple(map(parse, LOSSES))  # with their default options
# As in docs/results.md: DCA at the upper end of the paper's range.
MEASURED = tuple(parse("dca beta=15" if name == "dca" else name) for name in LOSSES)
CE, DCA = parse("ce"), parse("dca beta=15", title="dca")
BETAS = (1, 5, 10, 15, 20, 25)  # the paper's sweep


def smoke() -> Grid:
    """Every method once on digits, in a minute or two."""
    network = network_variant(f"{SMALL} epochs=20")
    return Grid((parse("digits"),), (network,), METHODS, seeds=(0,))


def results() -> Grid:
    """The grid of docs/results.md: two real data sets, one frozen backbone, every method."""
    return Grid(
        data=(
            parse("pneumoniamnist"),
            parse("chest_xray3 epochs=40 image_size=112", title="chest_xray3"),
        ),
        networks=(parse("tf_efficientnet_lite0"),),
        methods=MEASURED,
        seeds=tuple(range(5)),
    )


def paper() -> Grid:
    """The paper's Tables 1 to 3: four data sets, four networks, cross-entropy and DCA, each cell
    trained twice.

    Our reading of the paper: cross-entropy balanced by class, Adam at 1e-4, batch 64 for AlexNet
    (512 on RSNA), half of that for the others, beta 15, a head of C/2 channels (C/4 for ResNet). It
    does not say how many epochs; 50 here.
    """
    sizes = {name: 64 if name == "AlexNet" else 32 for name in PAPER_NETWORKS}
    return Grid(
        data=tuple(map(parse, ("RSNA", "DDSM", "Mendeley", "Kather"))),
        networks=tuple(
            Variant(
                name,
                backbone,
                {"batch_size": sizes[name], "head_reduction": 4 if name == "ResNet" else 2},
            )
            for name, backbone in PAPER_NETWORKS.items()
        ),
        methods=(CE, DCA),
        seeds=(0, 1),
        exceptions={("RSNA", name): {"batch_size": 8 * size} for name, size in sizes.items()},
        base={
            "class_weights": "balanced",
            "learning_rate": 1e-4,
            "decay": "none",
            "image_size": 224,
            "epochs": 50,
        },
    )


def of_figure(number: int) -> Grid:
    """The grid of a figure of the paper, on PneumoniaMNIST; Figure 3 uses its methods and seeds."""
    strengths = {beta: parse(f"dca beta={beta}") for beta in BETAS}
    methods, seeds = {
        1: ((CE, DCA), 1),
        2: ((CE, DCA), 3),
        3: (MEASURED, 5),
        4: (tuple(strengths[beta] for beta in (1, 10, 15, 25)), 1),
        5: ((CE, *strengths.values()), 3),
    }[number]
    return replace(
        results(),
        data=results().data[:1],
        methods=methods,
        seeds=tuple(range(seeds)),
        base={"epochs": 30, "decay": "none"} if number == 1 else {},
        traced=number in (1, 2, 4),
    )


PRESETS: dict[str, Callable[[], Grid]] = {"smoke": smoke, "results": results, "paper": paper}


def chosen(
    grid: Grid,
    *,
    data: Sequence[str] | None = None,
    network: Sequence[str] | None = None,
    method: Sequence[str] | None = None,
    seeds: int | None = None,
    first_seed: int = 0,
) -> Grid:
    """`grid` with what was given in place of its own; on digits alone with the small network.

    Raises BadChoice.
    """
    sources = tuple(map(data_variant, data)) if data else grid.data
    small = {each.subject for each in sources} == {"digits"}
    networks = (network_variant(SMALL),) if small else grid.networks
    own = {each.title: each for each in grid.networks}
    named = tuple(own.get(text) or network_variant(text) for text in network or ())
    return replace(
        grid,
        data=sources,
        networks=named or networks,
        methods=tuple(map(parse, method)) if method else grid.methods,
        seeds=tuple(range(first_seed, first_seed + (seeds or len(grid.seeds)))),
    )


def data_variant(text: str) -> Variant:
    """A data set from the command line; its title is the last part of its path.

    >>> data_variant("data/pneumoniamnist.npz epochs=3")
    Variant(title='pneumoniamnist', subject='data/pneumoniamnist.npz', changes={'epochs': 3})
    """
    parsed = parse(text)
    return replace(parsed, title=Path(parsed.subject).stem or parsed.subject)


def network_variant(text: str) -> Variant:
    """A network from the command line; the small one comes with its own choices."""
    parsed = parse(text)
    subject = PAPER_NETWORKS.get(parsed.subject, parsed.subject)
    if subject != SMALL:
        return replace(parsed, subject=subject)
    made_for_it = offline_config(loss="ce", seed=0).model_dump(
        exclude_unset=True, exclude={"loss", "seed"}
    )
    return Variant(SMALL, SMALL, made_for_it | dict(parsed.changes))


def open_data(
    variants: Sequence[Variant], *, folder: Path | None, cache: Path, progress: Progress = silent
) -> dict[str, Dataset]:
    """Data sets by title, from `folder` or their own path.

    Raises DataNotFound, and BadDataset for findings.
    """
    datasets = {}
    for variant in variants:
        source, arguments = _place(variant.subject, folder)
        dataset = load_dataset(source, cache=cache, progress=progress, **arguments)
        require_classes(
            dataset,
            "; experiments compare models of exclusive classes: leave it out, or use candor train "
            "and candor export",
        )
        datasets[variant.title] = dataset
    return datasets


def _place(subject: str, folder: Path | None) -> tuple[str | Path, LoadOptions]:
    """The path of the data and how to load it. Raises DataNotFound for a known, missing set."""
    place = PLACES.get(subject)
    if place is None:
        return subject, {}
    for path in place.paths:
        if folder is not None and (folder / path).exists():
            return folder / path, place.arguments
    where = f"in {folder}" if folder else "as CANDOR_DATA is not set"
    raise DataNotFound(
        f"found none of {', '.join(place.paths)} {where}; docs/training.md says how to make it, "
        f"and {parameter('data')} chooses other data sets"
    )
