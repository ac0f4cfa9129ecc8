"""Headers and query of a prediction request, as the OpenAPI document describes them."""

from typing import Annotated, Final

from msgspec import Meta, Struct

from monitoring.http.endpoint import Header
from serving.http.bodies import Attempt, FrameName, Patient, RequestId, Seconds


class PredictionParameters(Struct, frozen=True):
    """What `serving.http.request.read_query` reads."""

    explain: (
        Annotated[
            str,
            Meta(
                description="adds a heat map to the answer: occlusion of the predicted class, or "
                "the name of a class or finding"
            ),
        ]
        | None
    ) = None
    frame: (
        Annotated[
            FrameName,
            Meta(
                description="of a DICOM file: a frame by its number from 1, the middle one, or "
                "all, by a list"
            ),
        ]
        | None
    ) = None


HEADERS: Final = (
    Header("X-Request-Id", RequestId, "your own id of the image, for feedback"),
    Header(
        "Idempotency-Key",
        RequestId,
        "your key of this request: if you send it again with the same image, you get the recorded "
        "answer",
    ),
    Header(
        "X-Candor-Attempt",
        Attempt,
        "how often you have sent this key; 1 saves asking the ledger for it",
    ),
    Header(
        "X-Candor-Tags",
        str,
        "site=A,device=B: where the image comes from, for reports by slice and its calibrator",
    ),
    Header(
        "X-Candor-Patient",
        Patient,
        "identifies the patient, so that images of one count as dependent; only a keyed hash is "
        "stored",
    ),
    Header(
        "X-Candor-Canary",
        bool,
        "true: the canary answers, if there is one; false: it does not",
    ),
    Header(
        "X-Candor-Deadline-S",
        Seconds,
        "refuse at once with 429 what would wait longer than this",
    ),
)
