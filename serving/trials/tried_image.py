"""One image that somebody tries: its answer, its record, and how the model sees it."""

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from msgspec import Struct
from PIL import Image as Pillow

from calibration.scope.p_values import flagged_share
from calibration.scope.verdict import Scope
from calibration.wording import percent
from console.formatting import SCOPE_WORDS, scope_sentence
from model_store.bundle.card import NO_PROMISE, ScopeCard
from model_store.image.viewing import Viewing
from monitoring.diagnosis.answer_record import AnswerRecord
from serving.inference.batcher import Image
from serving.inference.explanation import HeatMap
from serving.inference.prediction import Classification, PredictedFinding, Prediction

SHOWN_CLASSES: Final = 8
LEAST_SIDE: Final = 240  # pixels of a picture's shorter side on the page
NOTHING_LISTED: Final = "No class is listed: read this image yourself."
SEEN: Final = "The model was trained on this image: its answer says nothing about new ones."
NO_LABELS: Final = "This server keeps no labels, so it cannot say how often such answers are right."


@dataclass(frozen=True)
class ShownScope:
    """What the scope check says of an image, and between which shares of in-scope images it flags
    at `alpha`, by its `n` calibration images.
    """

    scope: Scope
    p: float
    alpha: float
    n: int

    @property
    def word(self) -> str:
        return SCOPE_WORDS[self.scope]

    @property
    def sentences(self) -> list[str]:
        """How unusual the image is, and what the check promises."""
        low, high = flagged_share(self.n, self.alpha)
        return [
            scope_sentence(self.p),
            f"At most {percent(self.alpha)} of them are flagged on average; by these {self.n:,} "
            f"calibration images, {percent(low)} to {percent(high)}. {NO_PROMISE}",
        ]


def shown_scope(answer: Prediction, card: ScopeCard | None, *, alpha: float) -> ShownScope | None:
    """What the scope check says of an answer; None without one."""
    if card is None or answer.scope is None or answer.scope_p is None:
        return None
    return ShownScope(answer.scope, answer.scope_p, alpha, card.flagged.n)


@dataclass(frozen=True, kw_only=True)
class TriedImage:
    """A trial as its page shows it: an answer, or the error in its place.

    `file` is the place of its file in the form, `frame` the number of the frame if the form chose
    any. `picture` is the model's input as PNG in base64. `records` are of earlier answers like this
    one, by predicted class or finding; empty if there is no ledger to read from. `promised` is the
    share of images like the card's whose prediction set holds the true class. `trained_on`: whether
    the network has seen the image.
    """

    name: str
    file: int = 0
    frame: int | None = None
    error: str | None = None
    answer: Prediction | None = None
    records: Mapping[str, AnswerRecord] = field(default_factory=dict)
    promised: float | None = None
    scope: ShownScope | None = None
    trained_on: bool = False
    explanation: HeatMap | None = None
    picture: str | None = None
    width: int = 0
    height: int = 0
    prediction_id: str | None = None

    @property
    def tone(self) -> str:
        """The class of the style sheet: only what labels bear out looks good."""
        if self.answer is None:
            return "alarm"
        if self.scope is not None and self.scope.scope != "in":
            return "off"
        if any(each.is_doubtful for each in self.records.values()):
            return "off"
        return "early" if self.record is None or self.record.is_early else "ok"

    @property
    def record(self) -> AnswerRecord | None:
        """That of the predicted class."""
        return self.records.get(self.classification.predicted) if self.classification else None

    @property
    def findings(self) -> list[tuple[str, PredictedFinding]]:
        """The answers of findings: those present first, then by probability."""
        found = self.answer.findings.items() if self.answer else ()
        return sorted(found, key=lambda pair: (not pair[1].present, -pair[1].probability))

    @property
    def classification(self) -> Classification | None:
        return self.answer.classification if self.answer else None

    @property
    def ranked(self) -> list[tuple[str, float]]:
        """The most probable classes, largest first."""
        probabilities = self.classification.probabilities if self.classification else {}
        return sorted(probabilities.items(), key=lambda pair: -pair[1])[:SHOWN_CLASSES]

    @property
    def unlisted(self) -> int:
        """How many classes are not among `ranked`."""
        answer = self.classification
        return len(answer.probabilities) - len(self.ranked) if answer else 0

    @property
    def rest(self) -> float:
        """The probability of those classes together."""
        return max(0.0, 1 - sum(probability for _, probability in self.ranked))

    @property
    def sentences(self) -> list[str]:
        """What to know beside the probabilities; an unusual image is doubted first."""
        of_scope = self.scope.sentences if self.scope else []
        seen = [SEEN] if self.trained_on else []
        if self.classification is None:
            return seen + of_scope
        record = NO_LABELS if self.record is None else self.record.sentences
        shown = _set_sentence(self.classification, self.promised)
        doubted = self.scope is not None and self.scope.scope != "in"
        told = (*seen, *of_scope, record, shown) if doubted else (record, shown, *seen, *of_scope)
        return [each for each in told if each]

    @property
    def heat_map(self) -> str | None:
        return None if self.explanation is None else base64.b64encode(self.explanation.png).decode()

    @property
    def heat_map_sentence(self) -> str:
        return "" if self.explanation is None else self.explanation.sentence


def _set_sentence(answer: Classification, promised: float | None) -> str:
    listed = answer.prediction_set
    if listed is None:
        return ""
    if not listed:
        return NOTHING_LISTED
    often = (
        ""
        if promised is None
        else f", right for {round(100 * promised)} in 100 images like the card's"
    )
    return f"Prediction set{often}: {', '.join(listed)}."


def as_picture(image: Image) -> tuple[str, int, int]:
    """The model's input (C, H, W), enlarged: PNG in base64, width and height in pixels."""
    pixels = np.repeat(image, 3, axis=0) if image.shape[0] == 1 else image
    picture = Pillow.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    factor = max(1, -(-LEAST_SIDE // min(picture.size)))
    picture = picture.resize(
        (picture.width * factor, picture.height * factor), Pillow.Resampling.NEAREST
    )
    stream = io.BytesIO()
    picture.save(stream, format="PNG")
    return base64.b64encode(stream.getvalue()).decode(), picture.width, picture.height


def as_image(png: bytes, channels: int) -> Image:
    """A kept picture as the model's input again, (C, H, W)."""
    picture = Pillow.open(io.BytesIO(png)).convert("L" if channels == 1 else "RGB")
    pixels = np.asarray(picture)
    return pixels[np.newaxis] if channels == 1 else pixels.transpose(2, 0, 1)


class ViewedImage(Struct, frozen=True, kw_only=True):
    """The values of an image: `offset + slope * sample`, after the file's rescale.

    `samples`: rows of pixels of channels (1: gray, or 3), 16 bits each, low byte first, in base64.
    `center`, `window`: of the window to begin with. `inverted`: the lowest value is white.
    `reduced`: by which factor each side is smaller than the file's.
    """

    width: int
    height: int
    channels: int
    samples: str
    offset: float
    slope: float
    center: float
    window: float
    inverted: bool
    reduced: int


def as_viewed(viewing: Viewing) -> ViewedImage:
    height, width, channels = viewing.samples.shape
    return ViewedImage(
        width=width,
        height=height,
        channels=channels,
        samples=base64.b64encode(viewing.samples.astype("<u2").tobytes()).decode(),
        offset=viewing.offset,
        slope=viewing.slope,
        center=viewing.center,
        window=viewing.width,
        inverted=viewing.inverted,
        reduced=viewing.reduced,
    )
