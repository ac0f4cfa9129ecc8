"""The TorchServe handler: the same graph, preprocessing, answers and errors as Candor's server.

The archive contains it beside `model.onnx`, `card.json` and the files of `model_store` and
`calibration` that it imports. So it needs NumPy, Pillow and onnxruntime (and pydicom to read DICOM)
and nothing else, not even TorchServe, which only calls it. A bad image gets its own 4xx and does
not affect the other images of its batch.

With CANDOR_MONITOR_URL in TorchServe's environment, answers go to that `candor monitor`, through
files in CANDOR_MONITOR_OUTBOX. CANDOR_MONITOR_TOKEN_FILE holds the token. Nothing else reads these
three variables: TorchServe's workers inherit them, and CANDOR_ON_DIFFERENCE (`refuse` or `warn`),
CANDOR_SCOPE_ALPHA and CANDOR_SCOPE_OUT, which mean what they mean to `candor serve`.
"""

import json
import logging
import os
import tempfile
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from calibration.calibrators.finding_answers import calibrators_of
from calibration.scope.verdict import (
    ALPHA,
    OutOfScopeChoice,
    least_p,
    read_p,
    refusal_of,
    without_confidence,
)
from model_store.errors import (
    BrokenImage,
    EmptyImage,
    ImageError,
    ImageTooComplex,
    ImageTooLarge,
    ModelStoreError,
    NoSuchFrame,
    TagsInvalid,
    TooManyFrames,
    UnknownImage,
    UnsupportedImage,
)
from model_store.image import KNOWN, FrameChoice, InputSpec, decode, decode_frames, read_choice
from model_store.image.probes import PROBE_FILE, TOLERANCE, Probes, differs_sentence
from model_store.image.training_digests import DIGEST_FILE, TrainingDigests
from model_store.runtime import ORT_ERRORS, open_session, ort
from model_store.tags import read_tags
from model_store.torchserve.answers import (
    FrameInvalid,
    Input,
    RequestIdInvalid,
    answer_of,
    declaration_of,
    logged,
    request_id_of,
)
from model_store.torchserve.counters import WorkerCounters
from model_store.torchserve.delivery import Delivery, MonitorConnection
from model_store.torchserve.outbox import OutboxFile, new_file

logger = logging.getLogger(__name__)


STATUS: dict[type[ModelStoreError], tuple[int, str]] = {
    RequestIdInvalid: (400, "malformed_request"),
    FrameInvalid: (400, "malformed_request"),
    TagsInvalid: (400, "malformed_request"),
    EmptyImage: (400, "empty_body"),
    BrokenImage: (400, "broken_image"),
    NoSuchFrame: (400, "no_such_frame"),
    ImageTooComplex: (413, "image_too_complex"),
    ImageTooLarge: (413, "image_too_large"),
    TooManyFrames: (413, "too_many_frames"),
    UnknownImage: (415, "not_an_image"),
    UnsupportedImage: (415, "unsupported_image"),
}
MONITOR_URL = "CANDOR_MONITOR_URL"
MONITOR_OUTBOX = "CANDOR_MONITOR_OUTBOX"
MONITOR_TOKEN_FILE = "CANDOR_MONITOR_TOKEN_FILE"
ON_DIFFERENCE = "CANDOR_ON_DIFFERENCE"
SCOPE_ALPHA, SCOPE_OUT = "CANDOR_SCOPE_ALPHA", "CANDOR_SCOPE_OUT"
BATCH = 16  # images of several frames that are inferred at a time
NOT_A_NUMBER = "the model's output for this image is not a number."
OUT_OF_SCOPE = "out_of_scope"
BATCH_FAILED = "the model failed on this batch; the server's log says why."
# Probabilities (K,) and the p-value of the scope check, or a sentence why there are none.
Row: TypeAlias = tuple[npt.NDArray[np.float32], float | None] | str
PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")


class CandorHandler:
    """The only class here, so TorchServe finds it; it calls `handle` once per batch."""

    def initialize(self, context: Any) -> None:
        """Load graph and card from the unpacked archive; deliver answers if a monitor is set."""
        folder = Path(context.system_properties["model_dir"])
        self._card: dict[str, Any] = json.loads((folder / "card.json").read_text(encoding="utf-8"))
        self._calibrators = calibrators_of(self._card)
        self._spec = InputSpec(**self._card["input"])
        self._alpha, self._out = _scope_settings()
        scope = self._card.get("scope")
        self._outputs = ["probabilities", *(["scope_p"] if scope else [])]
        if scope and self._alpha < least_p(scope["flagged"]["n"]):
            logger.warning("candor: no image can be doubtful: alpha is below the least p-value")
        available = ort.get_available_providers()
        providers = [name for name in PROVIDERS if name in available]
        graph = (folder / "model.onnx").read_bytes()
        self._session = open_session(graph, providers, exact=False)
        if self._differs(folder / PROBE_FILE) > TOLERANCE:
            self._session = open_session(graph, providers, exact=True)
        if (difference := self._differs(folder / PROBE_FILE)) > TOLERANCE:
            self._refuse_or_warn(difference)
        seen = folder / DIGEST_FILE
        self._seen = TrainingDigests.from_bytes(seen.read_bytes()) if seen.is_file() else None
        self._counters = WorkerCounters(
            getattr(context, "metrics", None),
            model=self._card["name"],
            version=self._card["version"],
            reasons=[*(code for _, code in STATUS.values()), "inference_failed", OUT_OF_SCOPE],
            findings=self._card["classes"] if self._card.get("findings") else ("",),
        )
        self._outbox: OutboxFile | None = None
        if url := os.environ.get(MONITOR_URL):
            self._deliver_to(url)

    def _differs(self, file: Path) -> float:
        """How far probabilities are from those that were published; 0 without probe images."""
        if not file.is_file():
            return 0.0
        spec, outputs = self._spec, len(self._card["classes"])
        return Probes.from_json(
            file.read_bytes(), channels=spec.channels, outputs=outputs
        ).difference(
            lambda images: self._session.run(["probabilities"], {"image": images})[0],
            height=spec.height,
            width=spec.width,
        )

    def _refuse_or_warn(self, difference: float) -> None:
        """Raise RuntimeError, unless CANDOR_ON_DIFFERENCE says `warn`."""
        sentence = f"candor: {self._card['name']}: {differs_sentence(difference)}"
        if os.environ.get(ON_DIFFERENCE, "refuse") != "warn":
            raise RuntimeError(f"{sentence}; {ON_DIFFERENCE}=warn serves it all the same")
        logger.warning("%s", sentence)

    def handle(self, requests: Sequence[Mapping[str, Any]], context: Any) -> list[Any]:
        """Return an answer, or an error with its status in `context`, per request, in order.

        A request for all frames of a file gets a list of answers.
        """
        answers: list[Any] = [{} for _ in requests]
        inputs: dict[int, list[Input]] = {}
        for index, request in enumerate(requests):
            context.set_response_content_type(index, "application/json")
            try:
                request_id = request_id_of(_header(context, index, "x-request-id"))
                tags = read_tags(_header(context, index, "x-candor-tags") or "")
                inputs[index] = self._inputs(request, request_id, tags)
            except (ImageError, RequestIdInvalid, TagsInvalid, FrameInvalid) as error:
                answers[index] = self._refuse(context, index, *STATUS[type(error)], str(error))
        rows = iter(self._infer([each.pixels for given in inputs.values() for each in given]))
        answered: list[tuple[dict[str, Any], str | None]] = []
        for index, given in inputs.items():
            of_request = [self._answer(each, next(rows)) for each in given]
            tags = given[0].tags
            answered += [(answer, tags) for answer in of_request if "error" not in answer]
            self._count_seen(given, of_request)
            sent = [self._sent(answer) for answer in of_request]
            if _frame(requests[index]) == "all":
                answers[index] = sent
            else:
                answers[index] = sent[0]
                if "error" in sent[0]:
                    status = HTTPStatus(422 if sent[0]["error"] == OUT_OF_SCOPE else 500)
                    context.set_response_status(code=status, phrase=status.phrase, idx=index)
        if answered:
            self._record(answered)
        return answers

    def _inputs(
        self, request: Mapping[str, Any], request_id: str | None, tags: str | None
    ) -> list[Input]:
        """A request's image or chosen frames. Raises ImageError and the errors of answers.py."""
        frame = _frame(request)
        if frame is None:
            return [Input(request_id, decode(_body(request), self._spec), tags)]
        decoded = decode_frames(_body(request), self._spec, frame)
        numbered = request_id and frame == "all"
        return [
            Input(
                request_id_of(f"{request_id}/{number}" if numbered else request_id),
                pixels,
                tags,
                number,
            )
            for pixels, number in zip(decoded.pixels, decoded.numbers, strict=True)
        ]

    def _answer(self, given: Input, row: Row) -> dict[str, Any]:
        """The answer for an image, or the error in its place."""
        numbered = {} if given.frame is None else {"frame": given.frame}
        if isinstance(row, str):
            self._counters.reject("inference_failed")
            return numbered | {"error": "inference_failed", "detail": row}
        by, (graph, scope_p) = self._calibrators.of(given.tags), row
        return numbered | answer_of(
            self._card, graph, by, request_id=given.request_id, scope_p=scope_p, alpha=self._alpha
        )

    def _count_seen(self, given: Sequence[Input], answers: Sequence[Mapping[str, Any]]) -> None:
        """Count answered images that the network has seen."""
        pairs = zip(given, answers, strict=True)
        if self._seen is not None:
            self._counters.trained_on(
                self._seen.seen(each.pixels for each, answer in pairs if "error" not in answer)
            )

    def _sent(self, answer: dict[str, Any]) -> dict[str, Any]:
        """The answer as the client gets it; the record has it whole."""
        if answer.get("scope") != "out" or self._out == "answer":
            return answer
        if self._out == "withhold":
            return without_confidence(answer)
        self._counters.reject(OUT_OF_SCOPE)
        numbered = {"frame": answer["frame"]} if "frame" in answer else {}
        p = answer["scope_p"]
        return numbered | {"error": OUT_OF_SCOPE, "detail": refusal_of(p), "scope_p": p}

    def _infer(self, images: Sequence[npt.NDArray[np.uint8]]) -> list[Row]:
        """What the graph gives for each image."""
        batches = (images[start : start + BATCH] for start in range(0, len(images), BATCH))
        return [row for batch in batches for row in self._infer_batch(batch)]

    def _infer_batch(self, images: Sequence[npt.NDArray[np.uint8]]) -> list[Row]:
        try:
            found = self._session.run(self._outputs, {"image": np.stack(images)})
        except ORT_ERRORS:
            logger.exception("candor: inference failed")
            return [BATCH_FAILED] * len(images)
        p_values = map(read_p, found[1]) if len(found) > 1 else [None] * len(images)
        return [
            (row, p) if np.isfinite(row).all() else NOT_A_NUMBER
            for row, p in zip(found[0], p_values, strict=True)
        ]

    def _record(self, answered: Sequence[tuple[Mapping[str, Any], str | None]]) -> None:
        by = self._calibrators.of(None)
        claimed = [by.claims(answer) for answer, _ in answered]
        for finding in claimed[0]:
            confidence = np.array([each[finding] for each in claimed], np.float32)
            self._counters.answer(confidence, finding=finding)
        if self._outbox is None:
            return
        if self._outbox.append([logged(answer, by, tags) for answer, tags in answered]):
            self._delivery.wake()
        else:
            self._counters.lose(len(answered))

    def _refuse(
        self, context: Any, index: int, status: int, code: str, detail: str
    ) -> dict[str, Any]:
        context.set_response_status(code=status, phrase=HTTPStatus(status).phrase, idx=index)
        self._counters.reject(code)
        return {"error": code, "detail": detail}

    def _deliver_to(self, url: str) -> None:
        shared = Path(tempfile.gettempdir()) / f"candor-outbox-{os.getuid()}"
        self._outbox = new_file(Path(os.environ.get(MONITOR_OUTBOX) or shared))
        token = os.environ.get(MONITOR_TOKEN_FILE)
        self._delivery = Delivery(
            self._outbox,
            MonitorConnection(url, Path(token) if token else None),
            declaration=declaration_of(self._card),
            counters=self._counters,
        )
        self._delivery.start()


def _scope_settings() -> tuple[float, str]:
    """What TorchServe's environment says. Raises ValueError."""
    alpha, out = os.environ.get(SCOPE_ALPHA, str(ALPHA)), os.environ.get(SCOPE_OUT, "answer")
    if out not in get_args(OutOfScopeChoice):
        raise ValueError(f"{SCOPE_OUT} is {', '.join(get_args(OutOfScopeChoice))}, not {out!r}")
    if not 0 < float(alpha) < 1:
        raise ValueError(f"{SCOPE_ALPHA} lies between 0 and 1, not at {alpha}")
    return float(alpha), out


def _body(request: Mapping[str, Any]) -> bytes:
    """Return the encoded image. JSON and text, which TorchServe parses, are no images."""
    body = request.get("body") or request.get("data") or b""
    if not isinstance(body, bytes | bytearray):
        raise UnknownImage(KNOWN)
    return bytes(body)


def _frame(request: Mapping[str, Any]) -> FrameChoice | None:
    """The frames that `?frame=` chooses, which TorchServe passes on like a field."""
    value = request.get("frame")
    if value is None:
        return None
    try:
        is_bytes = isinstance(value, bytes | bytearray)
        return read_choice(value.decode("latin-1") if is_bytes else str(value))
    except ValueError as error:
        raise FrameInvalid(f"frame: {error}.") from None


def _header(context: Any, index: int, name: str) -> str | None:
    """Return a header of a request, however it is capitalized."""
    headers = context.get_all_request_header(index)
    return next(
        (value for key, value in headers.items() if key.lower() == name and isinstance(value, str)),
        None,
    )
