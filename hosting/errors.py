"""Errors between an image and its answer.

An image passes connection -> access -> head -> admission -> body -> decoding -> queue -> inference
-> ledger -> answer:

    connection  MalformedHttp, HeadTooLarge
    access      UnknownHost, Unauthorized, Forbidden, CrossOrigin
    head        ModelNotLoaded, VersionNotLoaded, NotReady, UnsupportedMedia, MalformedRequest,
                monitoring.errors.BodyTooLarge
    admission   Overloaded, monitoring.errors.BodiesFull
    body        BodyTooLarge, monitoring.errors.BodyTimeout, MalformedRequest, ClientGone
    decoding    model_store.errors: its ImageErrors (empty, broken, unknown, too complex ...);
                Overloaded, DecoderUnavailable
    inference   VersionStopped, OutOfScope; InferenceFailed: the only 500, a bug of the model or of
                Candor, never of the image
    explaining  ExplanationsBusy
    ledger      LedgerFailed: an answer that is not in the ledger is not sent

`error_table` turns each of them into a status, a code and a sentence.
"""

import math
from collections.abc import Iterable

from calibration.scope.verdict import refusal_of
from calibration.wording import parameter
from model_store.image.probes import differs_sentence


class ServingError(Exception):
    """Base class of serving's errors. The text is a sentence for the client or the operator."""


class SettingsError(ServingError, ValueError):
    """A setting that does not exist or has an invalid value."""


class ListenError(ServingError, OSError):
    """The server cannot listen on the address."""


class ClusterError(ServingError, RuntimeError):
    """A Ray cluster cannot be joined, or does not run what it is given."""


class ModelUnusable(ServingError, RuntimeError):
    """ONNX Runtime cannot load or run a verified bundle."""


class ProbesDiffer(ModelUnusable):
    """A version answers its probe images otherwise here; `difference`: of a probability."""

    def __init__(self, model: str, version: int, difference: float) -> None:
        self.difference = difference
        super().__init__(
            f"{model} version {version} is refused: {differs_sentence(difference)}. "
            "Publish it again from this machine, or set CANDOR_ON_DIFFERENCE=warn."
        )


class MalformedHttp(ServingError, ValueError):
    """The bytes are not an HTTP/1.1 request."""


class HeadTooLarge(ServingError, ValueError):
    """The request head is over the limit."""


class ModelNotLoaded(ServingError, LookupError):
    def __init__(self, model: str, *, known: Iterable[str]) -> None:
        names = ", ".join(sorted(known)) or "none"
        super().__init__(f"there is no model {model[:100]!r} here; loaded models: {names}.")


class ModelNotStored(ServingError, LookupError):
    def __init__(self, model: str, *, known: Iterable[str]) -> None:
        names = ", ".join(sorted(known)) or "none"
        super().__init__(f"there is no model {model[:100]!r} in the model store; it has: {names}.")


class StoreMissing(ServingError, LookupError):
    """This process has no model store, so it can neither show nor change versions."""

    def __init__(self, address: str) -> None:
        super().__init__(
            f"there is no model store {address}, so nothing can be shown or changed here. Use the "
            "console of the server that answers images, or give this process the store of that "
            f"server with {parameter('store')}."
        )


class VersionNotStored(ServingError, LookupError):
    def __init__(self, model: str, version: int, *, known: Iterable[int]) -> None:
        stored = ", ".join(str(number) for number in known)
        super().__init__(
            f"there is no version {version} of {model!r} in the model store; it has: {stored}."
        )


class VersionNotLoaded(ServingError, LookupError):
    def __init__(self, model: str, version: str, *, known: Iterable[int]) -> None:
        loaded = ", ".join(str(number) for number in known)
        super().__init__(
            f"version {version[:100]!r} of model {model!r} is not loaded; loaded versions: "
            f"{loaded}."
        )


class Unauthorized(ServingError, PermissionError):
    """The token is missing or unknown."""


class Forbidden(ServingError, PermissionError):
    """The token lacks the scope that the request needs."""


class CrossOrigin(Forbidden):
    def __init__(self, page: str) -> None:
        super().__init__(
            f"{page} may not send this request; list the page's origin in CANDOR_CORS_ORIGINS if "
            "it should."
        )


class UnknownHost(Forbidden):
    def __init__(self, name: str) -> None:
        super().__init__(
            f"this server is not called {name[:100]!r}; list the name in CANDOR_HOSTS if clients "
            "should reach it so."
        )


class AssetUnknown(ServingError, LookupError):
    def __init__(self) -> None:
        super().__init__("no page of this release loads such a file; reload the page.")


class NotReady(ServingError, RuntimeError):
    """No model is loaded."""


class MetricsElsewhere(ServingError, LookupError):
    def __init__(self) -> None:
        super().__init__(
            "several replicas answer at this address, each with counters of its own; Ray counts "
            "requests, and `candor monitor` on the same ledger has the metrics of answers, labels "
            "and drift."
        )


class Overloaded(ServingError, RuntimeError):
    def __init__(self, *, wait_s: float, deadline_s: float, clears_s: float) -> None:
        """`clears_s`: seconds until such a request is admitted, if no other arrives."""
        super().__init__(
            f"the predicted wait of {wait_s:.1f} s is over the deadline of "
            f"{round(deadline_s, 2):g} s; try again later."
        )
        self.retry_after_s: int = max(1, math.ceil(clears_s))


class DecoderUnavailable(ServingError, RuntimeError):
    """No decoding process can be started, so only plain PNG files are answered."""


class ExplanationsBusy(ServingError, RuntimeError):
    def __init__(self) -> None:
        super().__init__("too many explanations are queued; try again later, or without ?explain.")


class ExplanationUnavailable(ServingError, RuntimeError):
    """The folder of the version no longer holds it, so it answers but cannot be explained."""


class MalformedRequest(ServingError, ValueError):
    """The request is malformed."""


class UnsupportedMedia(ServingError, ValueError):
    """The declared media type is not an image."""


class ClientGone(ServingError, ConnectionError):
    """The client has disconnected."""


class OutOfScope(ServingError, ValueError):
    """The image is not like those that the model was made for. `scope_p`: its p-value."""

    def __init__(self, p: float) -> None:
        self.scope_p = p
        super().__init__(refusal_of(p))


class InferenceFailed(ServingError, RuntimeError):
    """The model failed on valid images."""


class VersionStopped(ServingError, RuntimeError):
    """Inference of the version took too long or too much memory, so it answers no more."""

    def __init__(self, model: str, reason: str) -> None:
        super().__init__(
            f"model {model!r} does not answer: {reason} Promote another version; a restart of the "
            "server tries this one again."
        )


class LedgerFailed(ServingError, RuntimeError):
    """The prediction could not be written to the ledger, so it is withheld."""

    retry_after_s = 1
