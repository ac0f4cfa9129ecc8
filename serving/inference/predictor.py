"""ONNX Runtime around one verified bundle: uint8 images in, calibrated probabilities out.

Normalization, temperature and softmax, or sigmoid, are part of the graph.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from calibration.calibrators.finding_answers import calibrators_of
from calibration.scope.verdict import read_p
from hosting.errors import ModelUnusable, ProbesDiffer
from hosting.setting_table import Device, OnDifference
from model_store.bundle.bundle import Bundle
from model_store.bundle.graph import OUTPUT
from model_store.bundle.scope import SCOPE_P
from model_store.image import FrameChoice, decode, decode_frames
from model_store.image.probes import TOLERANCE, differs_sentence
from model_store.runtime import ORT_ERRORS, open_session, ort
from serving.inference.answer import kind_of
from serving.inference.freed_memory import return_freed_memory
from serving.inference.prediction import Prediction, Probabilities, ScopePolicy
from serving.inference.run_watch import (
    LEAST_S,
    LOADING_S,
    MEMORY,
    OUT_OF_MEMORY,
    RUNS,
    TIMES_USUAL,
    session_options,
)

logger = logging.getLogger(__name__)


# A model is light if it infers one image in less than this.
LIGHT_S: Final = 150e-6
MEASURE_S: Final = 0.03
# A model that takes less for one image infers this many pixels at once. What it computes from more
# does not stay in the cache, and an image takes up to four times as long.
SMALL_S: Final = 1e-3
PART_BYTES: Final = 640 * 1024
PROVIDERS: dict[str, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}


class GraphOutputs(NamedTuple):
    """What the graph gives: probabilities (N, K), and p-values of the scope check, (N,)."""

    probabilities: Probabilities
    scope_p: npt.NDArray[np.float32] | None = None

    def scope_of_each(self) -> list[float | None]:
        """The p-values, None for each image without a scope check."""
        if self.scope_p is None:
            return [None] * len(self.probabilities)
        return [read_p(p) for p in self.scope_p]


class Predictor:
    """One ONNX Runtime session. Raises ModelUnusable if it cannot load or run the graph."""

    def __init__(
        self,
        bundle: Bundle,
        *,
        threads: int = 0,
        device: Device = "auto",
        exact: bool = False,
        scope: ScopePolicy | None = None,
    ) -> None:
        """`bundle` must be verified. `threads`: of the CPU; 0: one for each available core.
        `exact`: see `open_session`. `scope`: by which images are called doubtful.
        """
        self.card = bundle.card
        self.scope = (scope or ScopePolicy()).of(self.card.scope)
        self.calibrators = calibrators_of(self.card.model_dump())
        self._read = kind_of(self.card).read
        self._outputs = [OUTPUT, *([SCOPE_P] if self.card.scope else [])]
        self.folder = bundle.folder
        self.stopped: str | None = None  # why, if a run took too long or too much memory
        self._usual_s: float | None = None  # of one image
        self.digest = bundle.digest
        self._probes = bundle.probes
        self.trained_on = bundle.trained_on
        providers = choose_providers(device)
        if PROVIDERS["cuda"] in providers:
            ort.preload_dlls()  # finds the CUDA that pip installed, which is on no search path
        try:
            self._session = open_session(
                bundle.onnx, providers, session_options(threads), exact=exact
            )
        except ORT_ERRORS as error:
            raise ModelUnusable(
                f"ONNX Runtime cannot load {self.card.name} version {self.card.version}: {error}"
            ) from error
        return_freed_memory()
        self.providers: tuple[str, ...] = tuple(self._session.get_providers())
        _report_fallback(device, self.providers)

    @property
    def on_cpu(self) -> bool:
        """Whether inference runs on the CPU."""
        return self.providers[0] == PROVIDERS["cpu"]

    def predict(
        self, images: npt.NDArray[np.uint8], *, overdue: Callable[[], None] | None = None
    ) -> Probabilities:
        """Probabilities, (N, K) float32, of (N, C, H, W) uint8. See `infer`."""
        return self.infer(images, overdue=overdue).probabilities

    def infer(
        self, images: npt.NDArray[np.uint8], *, overdue: Callable[[], None] | None = None
    ) -> GraphOutputs:
        """Run (N, C, H, W) uint8. Raises ModelUnusable.

        `overdue` is called in another thread once a run is past its limit. Then, and after a run
        that needed too much memory, the predictor is `stopped` and answers no more.
        """
        if not self.on_cpu or self._usual_s is None or self._usual_s > SMALL_S:
            return GraphOutputs(*self._run(images, overdue))
        size = max(1, PART_BYTES // images[0].nbytes)
        starts = range(0, len(images), size)
        parts = [self._run(images[at : at + size], overdue) for at in starts]
        return GraphOutputs(*map(np.concatenate, zip(*parts, strict=True)))

    def _run(self, images: npt.NDArray[np.uint8], overdue: Callable[[], None] | None) -> list[Any]:
        if self.stopped is not None:
            raise ModelUnusable(self.stopped)
        usual_s, limit_s = self._usual_s, LOADING_S[self.on_cpu]
        if usual_s is not None:
            limit_s = max(LEAST_S[self.on_cpu], TIMES_USUAL * usual_s * len(images))

        def stop() -> None:
            self.stopped = f"inference of {len(images)} images took more than {limit_s:.0f} s."
            if overdue is not None:
                overdue()

        try:
            with RUNS.run(limit_s, stop) as options:
                found: list[Any] = self._session.run(self._outputs, {"image": images}, options)
                return found
        except ORT_ERRORS as error:
            if OUT_OF_MEMORY in str(error):
                self.stopped = (
                    f"inference of {len(images)} images needs more than the "
                    f"{MEMORY.limit_bytes / 2**20:.0f} MiB that CANDOR_MEMORY_BYTES "
                    "leaves to it."
                )
            raise ModelUnusable(
                f"ONNX Runtime failed on a batch of {len(images)}: {error}"
            ) from error

    def warm_up(self, max_batch: int) -> None:
        """Run the model once, so that no request pays for what is slower the first time.

        An accelerator chooses its algorithms by shape. On the CPU the first large batch is no
        slower than later ones.
        """
        if not self.on_cpu:
            self.predict(self._blank(max_batch))
        _ = self.one_image_s

    @cached_property
    def one_image_s(self) -> float:
        """Seconds for one image: the least of the runs of MEASURE_S, of two at least.

        The first run is slow, and where others want the processor, so are most.
        """
        until_s = time.perf_counter() + MEASURE_S
        elapsed_s = min(self._time_one(), self._time_one())
        while time.perf_counter() < until_s:
            elapsed_s = min(elapsed_s, self._time_one())
        self._usual_s = elapsed_s
        return elapsed_s

    def _time_one(self) -> float:
        blank = self._blank(1)
        started_s = time.perf_counter()
        self.predict(blank)
        return time.perf_counter() - started_s

    @cached_property
    def difference(self) -> float | None:
        """The largest difference of a probability to where the bundle was published, on its probe
        images; None where it has none. Raises ModelUnusable.
        """
        if self._probes is None:
            return None
        shape = self.card.input
        return self._probes.difference(self.predict, height=shape.height, width=shape.width)

    @property
    def doubt(self) -> str | None:
        """Why its calibration does not hold on this machine, as a clause."""
        found = self.difference
        return None if found is None or found <= TOLERANCE else differs_sentence(found)

    @property
    def is_light(self) -> bool:
        """Whether one thread infers an image faster than several would."""
        return self.on_cpu and self.one_image_s < LIGHT_S

    def _blank(self, images: int) -> npt.NDArray[np.uint8]:
        shape = self.card.input
        return np.zeros((images, shape.channels, shape.height, shape.width), dtype=np.uint8)

    def classify(self, data: bytes, *, tags: str | None = None) -> Prediction:
        """The answer for one encoded image. Raises model_store's ImageError.

        `tags`: as in the ledger, see `model_store.tags.read_tags`.
        """
        return self.classify_pixels(decode(data, self.card.input.spec), tags=tags)

    def classify_frames(
        self, data: bytes, frame: FrameChoice, *, tags: str | None = None
    ) -> dict[int, Prediction]:
        """The answers for chosen frames of an encoded image, by number. Raises ImageError."""
        found = decode_frames(data, self.card.input.spec, frame)
        answers = [self.classify_pixels(pixels, tags=tags) for pixels in found.pixels]
        return dict(zip(found.numbers, answers, strict=True))

    def classify_pixels(
        self, image: npt.NDArray[np.uint8], *, tags: str | None = None
    ) -> Prediction:
        """The answer for one decoded image, (C, H, W)."""
        return self.classify_batch(image[np.newaxis], tags=tags)[0]

    def classify_batch(
        self, images: npt.NDArray[np.uint8], *, tags: str | None = None
    ) -> list[Prediction]:
        """The answers for decoded images, (N, C, H, W), of the same tags. Raises ModelUnusable."""
        by, inferred = self.calibrators.of(tags), self.infer(images)
        found = [self._read(row.tolist(), by) for row in by(inferred.probabilities)]
        verdicts = map(self.scope.verdict, inferred.scope_of_each())
        return [
            each if said is None else replace(each, scope=said.scope, scope_p=said.p)
            for each, said in zip(found, verdicts, strict=True)
        ]


def open_predictor(
    bundle: Bundle,
    *,
    threads: int = 0,
    device: Device = "auto",
    on_difference: OnDifference = "refuse",
    scope: ScopePolicy | None = None,
) -> Predictor:
    """A predictor, with one thread if `threads` is 0 and the model is light: splitting its work
    would cost more.

    It answers the bundle's probe images first. If that differs from what was published, sums of
    integers are made exact. If it still differs, it is refused (ProbesDiffer) or a warning is
    logged, as `on_difference` says. See Predictor for the other arguments and errors.
    """
    opened = partial(Predictor, bundle, device=device, scope=scope)
    predictor = opened(threads=threads)
    if threads == 0 and predictor.is_light:
        threads = 1
        predictor = opened(threads=threads)
    if predictor.doubt is None:
        return predictor
    exact = opened(threads=threads, exact=True)
    if exact.doubt is not None:
        _report_difference(exact, on_difference)
    return exact


def choose_providers(device: Device) -> list[str]:
    """Execution providers to try, best first; the CPU is always last.

    `auto` leaves out TensorRT, because it builds an engine for each input shape, which takes
    minutes.
    """
    wanted = {"auto": ["cuda"], "cpu": [], "cuda": ["cuda"], "tensorrt": ["tensorrt", "cuda"]}[
        device
    ]
    available = ort.get_available_providers()
    return [PROVIDERS[name] for name in wanted if PROVIDERS[name] in available] + [PROVIDERS["cpu"]]


def _report_fallback(device: Device, providers: tuple[str, ...]) -> None:
    if device in ("cuda", "tensorrt") and PROVIDERS[device] not in providers:
        logger.warning(
            "device %s was requested but onnxruntime offers %s; inferring with %s. See "
            "docs/how-to/gpu.md",
            device,
            ", ".join(ort.get_available_providers()),
            providers[0],
        )


def _report_difference(predictor: Predictor, on_difference: OnDifference) -> None:
    card, difference = predictor.card, predictor.difference or 0.0
    if on_difference == "refuse":
        raise ProbesDiffer(card.name, card.version, difference)
    fields = {"model": card.name, "version": card.version, "difference": difference}
    logger.warning("%s", predictor.doubt, extra={"fields": fields})
