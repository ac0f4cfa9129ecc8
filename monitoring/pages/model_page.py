"""One version of a model on one page: the assessment, the picture, then the numbers and what they
mean.
"""

from enum import StrEnum

from monitoring.api.viewer import EVERYONE, Viewer
from monitoring.pages.rendering import render
from monitoring.pages.sections import sections
from monitoring.reports.page_data import PageData

REFRESH_S = 15
_WINDOWS = (
    ("all", "all labels"),
    ("promotion", "since promotion"),
    ("days:30", "30 days"),
    ("last:500", "last 500 labels"),
    ("last:100", "last 100 labels"),
)


class Acting(StrEnum):
    """Whether versions of a model can be acted on from this process: it can, or why not."""

    HERE = "here"
    NO_STORE = "no store"
    NOT_STORED = "not stored"


def model_page(
    found: PageData,
    *,
    serves: bool = False,
    acting: Acting = Acting.HERE,
    viewer: Viewer = EVERYONE,
) -> str:
    """Render the page, which renews itself.

    `serves`: whether this process answers images with the model. `acting`: whether its versions can
        be acted on.
    """
    page = {
        "acts": viewer.may("admin"),
        "serves": serves,
        "windows": _WINDOWS,
        "refresh_s": REFRESH_S,
    }
    return render(
        "model.html", **sections(found, downloads=True), **page, acting=acting, viewer=viewer
    )
