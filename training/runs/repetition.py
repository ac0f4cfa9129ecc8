"""A run that repeats another by its card, on the same data, and compares the weights."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from calibration.wording import counted
from model_store.bundle.bundle import CARD_FILE
from model_store.bundle.card import Card
from model_store.bundle.provenance import TrainingCard
from training.datasets import Dataset, LoadArguments, LoadedFrom
from training.datasets.medmnist_sets import published_set
from training.datasets.sources import DEFAULT_NAME, DIGITS
from training.errors import NotRepeatable
from training.networks.backbones import Weights, find_weights
from training.runs.config import TrainConfig
from training.runs.export import checkpoint_sha256
from training.runs.source import library_versions


@dataclass(frozen=True)
class Repetition:
    """What a card says about its run."""

    card: Card
    training: TrainingCard

    def config(
        self, *, weights: Weights | None, device: str | None, data_folder: Path | None
    ) -> TrainConfig:
        """The choices of the run.

        `weights` and `device` are not the card's but this machine's; without `weights`, they are
        found as for any run. Raises NotRepeatable if this Candor does not know a choice.
        """
        choices = self.training.choices | ({} if device is None else {"device": device})
        if weights is not None:
            choices["weights"] = weights
        elif choices.get("weights") != "none":
            choices["weights"] = find_weights(str(choices.get("backbone")), data_folder)
        try:
            return TrainConfig.model_validate(choices)
        except ValidationError as error:
            raise self._unknown_choice(error) from error

    def _unknown_choice(self, error: ValidationError) -> NotRepeatable:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        return NotRepeatable(
            f"this Candor cannot repeat the run: {where}: {first['msg']}. Install the Candor of "
            f"commit {self.card.provenance.git_commit or '(not on the card)'}"
        )

    def source(self, given: str | None) -> str | None:
        """The data to load: `given`, or what the card's name stands for; None: the data that is
        used by default.

        Raises NotRepeatable if the card has only the last part of a path.
        """
        named = self.loaded.source
        if given is not None or named == f"{DEFAULT_NAME}.npz":
            return given
        if named == DIGITS or published_set(named) is not None:
            return named
        raise NotRepeatable(
            f"the card says of the data's place only {named!r}: give the data, as in `candor train "
            "DATA --from-card CARD`"
        )

    @property
    def loaded(self) -> LoadedFrom:
        """How the data was loaded. Raises NotRepeatable if this Candor does not know an option."""
        given = self.training.loaded
        if given is None:
            return LoadedFrom("", seed=self.card.provenance.seed)
        try:
            return TypeAdapter(LoadedFrom).validate_python(given)
        except ValidationError as error:
            raise self._unknown_choice(error) from error

    @property
    def reading(self) -> LoadArguments:
        arguments = asdict(self.loaded)
        return {name: arguments[name] for name in LoadArguments.__annotations__}  # type: ignore[return-value]

    @property
    def split_seed(self) -> int:
        """The seed for splits that the data lacks."""
        return self.loaded.seed

    def check_data(self, dataset: Dataset) -> None:
        """Raise NotRepeatable unless classes, labels and images are the run's."""
        if dataset.fingerprint != self.card.provenance.fingerprint:
            found = {split: sum(counts) for split, counts in dataset.counts.items()}
            expected = {split: sum(counts) for split, counts in self.training.images.items()}
            raise NotRepeatable(
                f"the data is not that of the card: got fingerprint {dataset.fingerprint[:12]}... "
                f"({found}), expected {self.card.provenance.fingerprint[:12]}... ({expected}); "
                "give the same images and labels"
            )

    def check_processes(self, count: int) -> None:
        """Raise NotRepeatable unless as many processes train, since sums depend on their order."""
        if count != self.training.processes:
            raise NotRepeatable(
                f"the run was trained by {counted(self.training.processes, 'process')}, this is "
                f"{count}: give --nproc {self.training.processes}"
            )

    def differences(self) -> list[str]:
        """Libraries that are not the run's, each a clause; they may change the last bits."""
        before, now = self.card.provenance.libraries, library_versions()
        return [
            f"{name} is {now.get(name, 'missing')}, was {version}"
            for name, version in before.items()
            if now.get(name) != version
        ]

    def repeats(self, run: Path) -> bool:
        """Whether the weights of a finished run are those of the card, to the bit."""
        return checkpoint_sha256(run) == self.training.checkpoint_sha256


def read_repetition(path: Path) -> Repetition:
    """The run behind a card.json, or behind the one in a bundle's folder.

    Raises NotRepeatable if it is no card, or if the card does not have every choice.
    """
    file = path / CARD_FILE if path.is_dir() else path
    try:
        card = Card.model_validate(json.loads(file.read_bytes()))
    except OSError as error:
        raise NotRepeatable(
            f"{file} cannot be read ({error.strerror}); give a card.json or a bundle's folder"
        ) from error
    except (ValueError, RecursionError) as error:
        raise NotRepeatable(
            f"{file} is no card of a bundle ({str(error).splitlines()[0]})"
        ) from error
    if card.provenance.training is None:
        raise NotRepeatable(
            f"{file} does not have every choice of its run, for it was exported by an older Candor "
            "or is no run of Candor's; repeat it from the run folder's config.json"
        )
    return Repetition(card, card.provenance.training)
