"""What can go wrong between an image and its answer, and what the client is told.

An image walks: connection -> access -> head -> admission -> body -> decoding -> queue -> inference -> ledger -> answer.

    connection  MalformedHttp, HeadTooLarge, HeadTimeout
    access      Unauthorized, Forbidden, CrossOrigin
    head        UnknownModel, UnknownVersion, NotReady, UnsupportedMedia, MalformedRequest,
                monitoring.errors.BodyTooLarge
    admission   Overloaded
    body        BodyTooLarge, BodyTimeout, MalformedRequest, ClientGone
    decoding    model_store.errors: its ImageErrors (empty, broken, unknown ...); Overloaded
    inference   InferenceFailed: the only 500, and a bug of the model or of ours, never of the image
    explaining  ExplanationsBusy
    ledger      LedgerFailed: no answer leaves that is not in the ledger

`error_table` turns each of them into a status, a code and a sentence.
"""

import math
from collections.abc import Iterable


class ServingError(Exception):
    """Base of this room's errors; its text is a sentence for the client or the operator."""


class SettingsError(ServingError, ValueError):
    """A setting that does not exist, or a value that it cannot take."""


class ListenError(ServingError, OSError):
    """The address cannot be listened on."""


class ModelUnusable(ServingError, RuntimeError):
    """A verified bundle that ONNX Runtime cannot load or run."""


class MalformedHttp(ServingError, ValueError):
    """Bytes that are not an HTTP/1.1 request."""


class HeadTooLarge(ServingError, ValueError):
    """A request head over the limit."""


class HeadTimeout(ServingError, TimeoutError):
    """A request head that did not arrive in time."""


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


class CrossOrigin(Forbidden):
    """A request that a browser sends for a page of another origin."""

    def __init__(self, page: str) -> None:
        super().__init__(
            f"{page} may not send this request; list the page's origin in CANDOR_CORS_ORIGINS if it should."
        )


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


class ExplanationUnavailable(ServingError, RuntimeError):
    """The folder of a version that answers no longer holds it."""


class MalformedRequest(ServingError, ValueError):
    """The request cannot be understood."""


class UnsupportedMedia(ServingError, ValueError):
    """The body is declared to be something that is no image."""


class BodyTimeout(ServingError, TimeoutError):
    """The client took too long to send its body."""


class ClientGone(ServingError, ConnectionError):
    """The client has hung up; nobody is left to answer."""


class InferenceFailed(ServingError, RuntimeError):
    """The model failed on a batch of valid images."""


class LedgerFailed(ServingError, RuntimeError):
    """The prediction could not be recorded, so it is not given."""
