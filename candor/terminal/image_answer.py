"""A server's answer for one image, which shows itself with the image in a notebook."""

import base64
import html
from collections.abc import Mapping
from typing import Any, Final

from candor.terminal.predictions import short_text

# Signatures of what a browser draws, by its media type
_DRAWN: Final = {"image/png": b"\x89PNG", "image/jpeg": b"\xff\xd8\xff", "image/webp": b"RIFF"}


class ImageAnswer(dict[str, Any]):
    """The fields of the answer, as `Client.predict` gives them."""

    def __init__(self, answer: Mapping[str, Any], image: bytes) -> None:
        super().__init__(answer)
        self._image = image

    def __repr__(self) -> str:
        return short_text(self)

    def _repr_html_(self) -> str:
        kinds = (kind for kind, start in _DRAWN.items() if self._image.startswith(start))
        kind = next(kinds, None)
        data = base64.b64encode(self._image).decode()
        picture = f'<img alt="" width="220" src="data:{kind};base64,{data}">' if kind else ""
        return f"{picture}<pre>{html.escape(repr(self))}</pre>"
