"""One version of a model on one page: the assessment, the picture, then the numbers and what they mean."""

from monitoring.api.viewer import EVERYONE, Viewer
from monitoring.pages.language import N_
from monitoring.pages.rendering import render
from monitoring.pages.sections import sections
from monitoring.reports.page_data import PageData

REFRESH_S = 15
_WINDOWS = (
    ("all", N_("all labels")),
    ("promotion", N_("since promotion")),
    ("days:30", N_("30 days")),
    ("last:500", N_("last 500 labels")),
    ("last:100", N_("last 100 labels")),
)


def model_page(found: PageData, *, serves: bool = False, viewer: Viewer = EVERYONE) -> str:
    """Render the page, which renews itself. `serves`: whether this process answers images with the model."""
    page = {"acts": viewer.may("admin"), "serves": serves, "windows": _WINDOWS, "refresh_s": REFRESH_S}
    return render("model.html", **sections(found, downloads=True), **page, viewer=viewer)
