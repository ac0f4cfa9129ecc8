"""What `candor serve` takes and answers: predictions, health, loaded models."""

from typing import Annotated, Literal, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType

from monitoring.http.endpoint import ErrorBody
from monitoring.http.fields import ID_LIMIT, Fraction, Version
from monitoring.patient_id import CHARACTERS

Base64: TypeAlias = Annotated[str, Meta(extra_json_schema={"contentEncoding": "base64"})]
Binary: TypeAlias = Annotated[str, Meta(extra_json_schema={"format": "binary"})]
RequestId: TypeAlias = Annotated[
    str, Meta(max_length=ID_LIMIT, description="your own id of the image, for feedback")
]

Patient: TypeAlias = Annotated[
    str,
    Meta(
        max_length=CHARACTERS,
        description="identifies the patient; only a keyed hash is stored",
        examples=["MRN-0017"],
    ),
]
FrameName: TypeAlias = Annotated[
    str, Meta(pattern="^([1-9][0-9]{0,8}|middle|all)$", examples=["1", "middle", "all"])
]
FrameNumber: TypeAlias = Annotated[
    int, Meta(ge=1, description="the frame of the file, where one was chosen")
]

Seconds: TypeAlias = Annotated[float, Meta(gt=0, description="seconds")]
Attempt: TypeAlias = Annotated[int, Meta(ge=1, le=9999)]


class EncodedImage(Struct, frozen=True):
    """One image of several in JSON, with what belongs to it."""

    image: Annotated[Base64, Meta(description="the encoded image")]
    request_id: RequestId | None = None
    tags: Annotated[dict[str, str], Meta(examples=[{"site": "A", "device": "CT-2"}])] | None = None
    patient: Patient | None = None


class ImageForm(Struct, frozen=True):
    """A form with files; several files are answered by a list."""

    file: Binary
    tags: Annotated[str, Meta(examples=["site=A,device=CT-2"])] | UnsetType = UNSET
    patient: Patient | UnsetType = UNSET


class Heatmap(Struct, frozen=True):
    """Which parts of an image the prediction depends on."""

    method: Literal["occlusion"]
    of: Annotated[str, Meta(description="the class or finding")]
    sentence: Annotated[
        str, Meta(description="what the map shows, also if no part of the image matters much")
    ]
    values: Annotated[
        list[list[float]], Meta(description="probability lost when each cell of a grid is covered")
    ]
    png: Annotated[
        Base64, Meta(description="the image with the map over it, and a scale in probability")
    ]


class Answered(Struct, frozen=True, kw_only=True):
    """What the answer for one image has, whatever the model answers."""

    prediction_id: Annotated[
        str, Meta(description="UUIDv7, the key for feedback", extra_json_schema={"format": "uuid"})
    ]
    request_id: str | None
    model: str
    version: Version
    audit: (
        Annotated[bool, Meta(description="whether the answer was drawn to be labeled")] | UnsetType
    ) = UNSET
    scope: (
        Annotated[
            Literal["in", "doubtful", "out"],
            Meta(
                description="whether the image is like those that the model was made for; `in` "
                "promises nothing"
            ),
        ]
        | UnsetType
    ) = UNSET
    scope_p: (
        Annotated[
            Fraction,
            Meta(description="at most a share p of such images has a p-value of at most p"),
        ]
        | UnsetType
    ) = UNSET
    explanation: Heatmap | UnsetType = UNSET
    file: Annotated[str, Meta(description="the name of the form's file")] | UnsetType = UNSET
    frame: FrameNumber | UnsetType = UNSET


Calibrator: TypeAlias = Annotated[
    str,
    Meta(
        description="the tags whose own calibrator applies; absent: only that of all",
        examples=["site=B"],
    ),
]


class Prediction(Answered, frozen=True, kw_only=True):
    """The answer for one image of a model of exclusive classes."""

    predicted: Annotated[str, Meta(description="the most probable class; null if withheld")] | None
    confidence: (
        Annotated[Fraction, Meta(description="the calibrated probability of `predicted`")] | None
    )
    probabilities: Annotated[dict[str, Fraction], Meta(description="of every class")] | None
    refer: Annotated[
        bool | None,
        Meta(description="whether confidence is below the referral threshold; null without one"),
    ]
    prediction_set: (
        Annotated[
            list[str],
            Meta(description="a set that holds the true class as often as the card promises"),
        ]
        | UnsetType
    ) = UNSET
    calibrator: Calibrator | UnsetType = UNSET


class FindingAnswer(Struct, frozen=True, kw_only=True):
    """The answer of one finding."""

    probability: Annotated[Fraction, Meta(description="calibrated, that the finding is present")]
    threshold: Fraction
    present: Annotated[
        bool, Meta(description="whether the probability is at or above the threshold")
    ]
    refer: (
        Annotated[
            bool, Meta(description="whether a person should look: the set does not have one class")
        ]
        | UnsetType
    ) = UNSET
    prediction_set: (
        Annotated[
            list[Literal["absent", "present"]],
            Meta(
                description="holds the truth as often as the card promises, of images with the "
                "finding and of those without it"
            ),
        ]
        | UnsetType
    ) = UNSET
    calibrator: Calibrator | UnsetType = UNSET


class FindingsPrediction(Answered, frozen=True, kw_only=True):
    """The answer for one image of a model with findings."""

    findings: (
        Annotated[dict[str, FindingAnswer], Meta(description="of every finding, by name")] | None
    )


class ImageRefused(ErrorBody, frozen=True, kw_only=True):
    """Why one image of several got no prediction."""

    scope_p: Annotated[Fraction, Meta(description="of `out_of_scope`")] | UnsetType = UNSET
    file: Annotated[str, Meta(description="the name of the form's file")] | UnsetType = UNSET
    frame: FrameNumber | UnsetType = UNSET


class PingStatus(Struct, frozen=True):
    """TorchServe's health."""

    status: Literal["Healthy", "Unhealthy"]


class RefusedBundle(Struct, frozen=True):
    """A published bundle that could not be loaded."""

    version: int | None
    reason: str


class Ready(Struct, frozen=True):
    """The server answers. `models`: versions in production; `refused`: bundles, by model;
    `doubts`: why a model's calibration does not hold on this machine, with
    CANDOR_ON_DIFFERENCE=warn.
    """

    models: dict[str, int]
    refused: dict[str, RefusedBundle]
    doubts: dict[str, str]
    status: Literal["ready"] = "ready"


class NotReadyBody(ErrorBody, frozen=True):
    """The server does not answer yet, or no more."""

    refused: dict[str, RefusedBundle] | UnsetType = UNSET


class ModelInput(Struct, frozen=True):
    """How an image becomes the model's input."""

    channels: int
    height: int
    width: int
    resize: Literal["stretch", "crop"]
    window: (
        Annotated[
            tuple[float, ...], Meta(min_length=2, max_length=2, description="of a DICOM file")
        ]
        | None
    )
    frames: Literal["one", "first"]
    bits: Annotated[
        int, Meta(ge=9, le=16, description="that gray images of 16 bits use for values")
    ]
    resample: Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]


CalibrationName: TypeAlias = Annotated[
    str,
    Meta(
        description='where the temperature comes from; "none" means that the model is not '
        "calibrated"
    ),
]


class ListedFinding(Struct, frozen=True):
    """A finding of a version that is loaded."""

    threshold: Annotated[Fraction, Meta(description="present from this probability on")]
    temperature: float
    calibration: CalibrationName


class ListedVersion(Struct, frozen=True):
    """A version that is loaded."""

    version: Version
    kind: Literal["classes", "findings"]
    classes: Annotated[tuple[str, ...], Meta(description="exclusive, or the findings' names")]
    input: ModelInput
    temperature: Annotated[
        float | None, Meta(description="null with findings, of which each has one")
    ]
    calibration: CalibrationName | None
    backbone: str
    loss: str
    findings: dict[str, ListedFinding] | UnsetType = UNSET


class ListedModel(Struct, frozen=True, rename={"model_name": "modelName", "model_url": "modelUrl"}):
    """A model that is loaded, with the two names that TorchServe's clients read."""

    model_name: str
    model_url: str
    name: str
    production: Version
    versions: list[ListedVersion]


class ModelListing(Struct, frozen=True):
    """The loaded models, and by model the bundles that could not be loaded."""

    models: list[ListedModel]
    refused: dict[str, RefusedBundle]


class TorchServeWorker(Struct, frozen=True):
    """A worker of TorchServe's management API."""

    id: str
    status: str
    gpu: bool


class TorchServeModel(Struct, frozen=True, rename="camel"):
    """A version as TorchServe's management API describes it."""

    model_name: str
    model_version: str
    model_url: str
    runtime: str
    min_workers: int
    max_workers: int
    batch_size: int
    max_batch_delay: int
    loaded_at_startup: bool
    workers: list[TorchServeWorker]
