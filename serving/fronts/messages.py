"""The messages between a front and the main process, as MessagePack with their types checked.
Nothing is unpickled.

An image: ImageSent, without pixels to ask whether it would be admitted; then ImageAdmitted with the
input that the model wants, ImageAnswered, or RefusalSent. ImageGone ends one early.

Any other request: RequestOpened, then the ASGI messages. The main process asks for each part of a
body (BodyWanted), and a front confirms each part of an answer (PartSent), so that neither collects
what the other side cannot take.
"""

from typing import Final, TypeAlias

import msgspec

from model_store.image import InputSpec
from monitoring.api.endpoint import Scope

Headers: TypeAlias = list[tuple[bytes, bytes]]
Address: TypeAlias = tuple[str, int | None] | None


class _Message(msgspec.Struct, array_like=True, gc=False, tag_field="kind"):
    """What all messages are."""


class _Numbered(_Message):
    """A message of one image or request; the front has numbered both."""

    number: int


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


class ImageSent(_Numbered, tag=4):
    """An image, (C, H, W) uint8, decoded for the input numbered `spec`; without pixels and 0 it
    only asks.

    `arrived_s` is a time by perf_counter, which all processes of a machine share. The other fields
    are those of the path and the headers.
    """

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


class ImageAdmitted(_Numbered, tag=5):
    """The image may be sent, for this input. Its version is kept for it."""

    spec: int
    input: InputSpec


class ImageAnswered(_Numbered, tag=6):
    """The JSON answer, committed to the ledger."""

    body: bytes


class RefusalSent(_Numbered, tag=7):
    """The answer to an image that gets none. `close`: the connection ends with it."""

    status: int
    headers: Headers
    body: bytes
    close: bool


class ImageGone(_Numbered, tag=8):
    """The front needs no answer any more."""


class RefusedHere(_Message, tag=9):
    """A front refused a request by itself, because its body did not arrive, or could not be
    held.
    """

    code: str


class RequestOpened(_Numbered, tag=10):
    """A request, as ASGI describes it."""

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


class BodyWanted(_Numbered, tag=11):
    """The next part of the body, please, or that the client has disconnected."""


class BodyPart(_Numbered, tag=12):
    """A part of the body of a request, or of its answer."""

    data: bytes
    more: bool


class ClientLeft(_Numbered, tag=13):
    """The client has disconnected."""


class AnswerStarted(_Numbered, tag=14):
    """Status and headers of an answer."""

    status: int
    headers: Headers


class PartSent(_Numbered, tag=15):
    """A part of an answer was taken; the next may follow."""


class RequestEnded(_Numbered, tag=16):
    """The application is done with a request, or the front is."""


class Heartbeat(_Message, tag=17):
    """Are you there? A front sends it back at once; one that does not is replaced."""


FromFront: TypeAlias = (
    ImageSent
    | ImageGone
    | RefusedHere
    | RequestOpened
    | BodyPart
    | ClientLeft
    | PartSent
    | RequestEnded
    | Heartbeat
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
    | Heartbeat
)
Message: TypeAlias = FromFront | ToFront
FROM_FRONT: Final = msgspec.msgpack.Decoder(FromFront)
TO_FRONT: Final = msgspec.msgpack.Decoder(ToFront)
