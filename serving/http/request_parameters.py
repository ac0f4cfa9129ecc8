"""Headers and query of a prediction request, as the OpenAPI document describes them."""

from typing import Final

from monitoring.http.endpoint import Parameter
from serving.http.bodies import Attempt, FrameName, Patient, RequestId, Seconds

FRAME_PARAMETER: Final = Parameter(
    "frame",
    "query",
    FrameName,
    "of a DICOM file: a frame by its number from 1, the middle one, or all, by a list",
)
HEAD_PARAMETERS: Final = (
    Parameter("X-Request-Id", "header", RequestId, "your own id of the image, for feedback"),
    Parameter(
        "Idempotency-Key",
        "header",
        RequestId,
        "your key of this request: if you send it again with the same image, you get the recorded "
        "answer",
    ),
    Parameter(
        "X-Candor-Attempt",
        "header",
        Attempt,
        "how often you have sent this key; 1 saves asking the ledger for it",
    ),
    Parameter(
        "X-Candor-Tags",
        "header",
        str,
        "site=A,device=B: where the image comes from, for reports by slice and its calibrator",
    ),
    Parameter(
        "X-Candor-Patient",
        "header",
        Patient,
        "identifies the patient, so that images of one count as dependent; only a keyed hash is "
        "stored",
    ),
    Parameter(
        "X-Candor-Canary",
        "header",
        bool,
        "true: the canary answers, if there is one; false: it does not",
    ),
    Parameter(
        "X-Candor-Deadline-S",
        "header",
        Seconds,
        "refuse at once with 429 what would wait longer than this",
    ),
)
