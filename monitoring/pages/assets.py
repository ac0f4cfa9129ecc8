"""The files that pages load: a style sheet and scripts, under names that change with their content.

So a browser may keep them for ever, and a new release is seen at once. Documents such as the
scheduled report carry the style sheet inside, because they are one file.
"""

import hashlib
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from model_store.bundle.diagram import drawing_rules

_TYPES = {
    "style.css": "text/css",
    "api.js": "text/javascript",
    "charts.js": "text/javascript",
    "console.js": "text/javascript",
    "viewer.js": "text/javascript",
}


class Asset(NamedTuple):
    """A file, its media type, and its name in an address."""

    content: str
    media_type: str
    address: str


@cache
def asset(name: str) -> Asset:
    """The file of this name in `monitoring/pages/static`."""
    content = files("monitoring.pages").joinpath("static", name).read_text(encoding="utf-8")
    if name == "style.css":
        content += drawing_rules()
    stem, _, suffix = name.partition(".")
    digest = hashlib.sha256(content.encode()).hexdigest()[:12]
    return Asset(content, _TYPES[name], f"/static/{stem}.{digest}.{suffix}")


def find_asset(address: str) -> Asset | None:
    """The file with this address; None for any other address."""
    return next((each for each in map(asset, _TYPES) if each.address == address), None)
