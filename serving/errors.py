"""What can go wrong between an image and its answer, and what the client is told.

An image walks: gate -> head -> admission -> body -> decoding -> queue -> inference -> ledger -> answer.

    gate        Unauthorized, Forbidden
    head        UnknownModel, UnknownVersion, NotReady, UnsupportedMedia, MalformedRequest, BodyTooLarge
    admission   Overloaded
    body        BodyTooLarge, BodyTimeout, MalformedRequest, ClientGone
    decoding    model_store.errors: its ImageErrors (empty, broken, unknown ...); Overloaded
    inference   InferenceFailed: the only 500, and a bug of the model or of ours, never of the image
    explaining  ExplanationsBusy
    ledger      LedgerFailed: no answer leaves that is not in the ledger

`failure` is the one table that turns an error into status, code and sentence.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from model_store.errors import BrokenImage, EmptyImage, ImageTooLarge, UnknownImage, UnsupportedImage


class ServingError(Exception):
    """Base of this room's errors; its text is a sentence for the client or the operator."""


class SettingsError(ServingError, ValueError):
    """A setting that does not exist, or a value that it cannot take."""


class ListenError(ServingError, OSError):
    """The address cannot be listened on."""


class ModelUnusable(ServingError, RuntimeError):
    """A verified bundle that ONNX Runtime cannot load or run."""


class UnknownModel(ServingError, LookupError):
    """No such model is loaded."""

    def __init__(self, model: str, *, known: Iterable[str]) -> None:
        names = ", ".join(sorted(known)) or "none"
        super().__init__(f"there is no model {model[:100]!r} here; loaded models: {names}.")


class UnknownVersion(ServingError, LookupError):
    """The model is loaded, this version of it is not."""

    def __init__(self, model: str, version: str, *, known: Iterable[int]) -> None:
        loaded = ", ".join(str(number) for number in known)
        super().__init__(f"version {version[:100]!r} of model {model!r} is not loaded; loaded versions: {loaded}.")


class Unauthorized(ServingError, PermissionError):
    """No token, or one that is not known."""


class Forbidden(ServingError, PermissionError):
    """A token that does not grant what the request needs."""


class NotReady(ServingError, RuntimeError):
    """No model is loaded."""


class Overloaded(ServingError, RuntimeError):
    """The answer would take longer than the deadline allows."""

    def __init__(self, *, wait_s: float, deadline_s: float, clears_s: float) -> None:
        """`clears_s`: seconds until such a request is let in, if no other comes."""
        super().__init__(
            f"the predicted wait of {wait_s:.1f} s is over the deadline of {deadline_s:g} s; try again later."
        )
        self.retry_after_s: int = max(1, math.ceil(clears_s))


class ExplanationsBusy(ServingError, RuntimeError):
    """Too many explanations wait already."""

    def __init__(self) -> None:
        super().__init__("too many explanations wait already; ask again later, or without ?explain.")


class Unexplained(ServingError, RuntimeError):
    """The folder of a version that answers no longer holds it."""


class MalformedRequest(ServingError, ValueError):
    """The request cannot be understood."""


class UnsupportedMedia(ServingError, ValueError):
    """The body is declared to be something that is no image."""


class BodyTooLarge(ServingError, ValueError):
    """The body is larger than the limit."""

    def __init__(self, *, limit_bytes: int, got_bytes: int | None = None) -> None:
        got = f"is {got_bytes} bytes" if got_bytes is not None else "is longer than the limit"
        super().__init__(f"the body {got}; at most {limit_bytes} bytes are taken. Send a smaller image.")


class BodyTimeout(ServingError, TimeoutError):
    """The client took too long to send its body."""


class ClientGone(ServingError, ConnectionError):
    """The client has hung up; nobody is left to answer."""


class InferenceFailed(ServingError, RuntimeError):
    """The model failed on a batch of valid images."""


class LedgerFailed(ServingError, RuntimeError):
    """The prediction could not be recorded, so it is not given."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as the client sees it: HTTP status, stable code, a sentence."""

    status: int
    code: str
    detail: str


STATUS: Final[dict[type[Exception], tuple[int, str]]] = {
    MalformedRequest: (400, "malformed_request"),
    EmptyImage: (400, "empty_body"),
    BrokenImage: (400, "broken_image"),
    Unauthorized: (401, "unauthorized"),
    Forbidden: (403, "forbidden"),
    UnknownModel: (404, "unknown_model"),
    UnknownVersion: (404, "unknown_version"),
    BodyTimeout: (408, "body_timeout"),
    BodyTooLarge: (413, "body_too_large"),
    ImageTooLarge: (413, "image_too_large"),
    UnknownImage: (415, "not_an_image"),
    UnsupportedImage: (415, "unsupported_image"),
    UnsupportedMedia: (415, "unsupported_media_type"),
    ExplanationsBusy: (429, "explanations_busy"),
    Overloaded: (429, "overloaded"),
    InferenceFailed: (500, "inference_failed"),
    NotReady: (503, "not_ready"),
    Unexplained: (503, "unexplained"),
    LedgerFailed: (503, "ledger_failed"),
}
INTERNAL: Final = Failure(
    500, "internal_error", "something is wrong in the server, not in the request; its log says what."
)


def failure(error: BaseException) -> Failure:
    """The status, code and sentence for `error`; INTERNAL for what the table does not know."""
    for kind in type(error).__mro__:
        if kind in STATUS:
            status, code = STATUS[kind]
            return Failure(status, code, str(error))
    return INTERNAL
