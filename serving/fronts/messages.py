"""The messages between a front and the main process, as MessagePack with their types checked. Nothing is unpickled.

An image: ImageSent, without pixels to ask whether it would be admitted; then ImageAdmitted with the input that the
model wants, ImageAnswered, or RefusalSent. ImageGone ends one early.

Any other request: RequestOpened, then the ASGI messages. The main process asks for each part of a body (BodyWanted),
and a front confirms each part of an answer (PartSent), so that neither collects what the other side cannot take.
"""

from typing import Final, TypeAlias

import msgspec

from model_store.image import InputSpec
from monitoring.api.endpoint import Scope

Headers: TypeAlias = list[tuple[bytes, bytes]]
Address: TypeAlias = tuple[str, int | None] | None


class _Message(msgspec.Struct, array_like=True, gc=False, tag_field="kind"):
    """`number` says to which image or request of the front it belongs."""


class KnownToken(_Message, tag=1):
    """A token as its digest, with its scopes and the name of its holder."""

    digest: bytes
    scopes: list[Scope]
    name: str


class FrontSetup(_Message, tag=2):
    """The first message to a front: its settings by name, as JSON, and who may send images.

    It is sent again when the tokens have changed.
    """

    settings: bytes
    tokens: list[KnownToken]


class FrontDrain(_Message, tag=3):
    """End: answer what has arrived, accept nothing new."""


class ImageSent(_Message, tag=4):
    """An image, (C, H, W) uint8, decoded for the input numbered `spec`; without pixels and 0 it only asks.

    `arrived_s` is a time by perf_counter, which all processes of a machine share. The other fields are those of the
    path and the headers.
    """

    number: int
    model: str
    version: str | None
    canary: bool | None
    request_id: str | None
    tags: str | None
    deadline_s: float | None
    arrived_s: float
    decode_s: float = 0.0
    spec: int = 0
    pixels: bytes = b""


class ImageAdmitted(_Message, tag=5):
    """The image may be sent, for this input. Its version is kept for it."""

    number: int
    spec: int
    input: InputSpec


class ImageAnswered(_Message, tag=6):
    """The JSON answer, committed to the ledger."""

    number: int
    body: bytes


class RefusalSent(_Message, tag=7):
    """The answer to an image that gets none. `close`: the connection ends with it."""

    number: int
    status: int
    headers: Headers
    body: bytes
    close: bool


class ImageGone(_Message, tag=8):
    """The front needs no answer any more."""

    number: int


class RefusedHere(_Message, tag=9):
    """A front refused a request by itself, because its body did not arrive, or could not be held."""

    code: str


class RequestOpened(_Message, tag=10):
    """A request, as ASGI describes it."""

    number: int
    method: str
    path: str
    raw_path: bytes
    query: bytes
    http_version: str
    scheme: str
    root_path: str
    headers: Headers
    client: Address
    server: Address


class BodyWanted(_Message, tag=11):
    """The next part of the body, please, or that the client has disconnected."""

    number: int


class BodyPart(_Message, tag=12):
    """A part of the body of a request, or of its answer."""

    number: int
    data: bytes
    more: bool


class ClientLeft(_Message, tag=13):
    """The client has disconnected."""

    number: int


class AnswerStarted(_Message, tag=14):
    """Status and headers of an answer."""

    number: int
    status: int
    headers: Headers


class PartSent(_Message, tag=15):
    """A part of an answer was taken; the next may follow."""

    number: int


class RequestEnded(_Message, tag=16):
    """The application is done with a request, or the front is."""

    number: int


FromFront: TypeAlias = (
    ImageSent | ImageGone | RefusedHere | RequestOpened | BodyPart | ClientLeft | PartSent | RequestEnded
)
ToFront: TypeAlias = (
    FrontSetup
    | FrontDrain
    | ImageAdmitted
    | ImageAnswered
    | RefusalSent
    | BodyWanted
    | AnswerStarted
    | BodyPart
    | RequestEnded
)
Message: TypeAlias = FromFront | ToFront
FROM_FRONT: Final = msgspec.msgpack.Decoder(FromFront)
TO_FRONT: Final = msgspec.msgpack.Decoder(ToFront)
