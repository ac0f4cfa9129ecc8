"""A server's answer for one image, which shows itself with the image in a notebook."""

import base64
import html
from collections.abc import Mapping
from typing import Any, Final

from calibration.wording import percent

# Signatures of what a browser draws, by its media type
_DRAWN: Final = {"image/png": b"\x89PNG", "image/jpeg": b"\xff\xd8\xff", "image/webp": b"RIFF"}
_SHOWN: Final = 5  # of the classes, the most probable


class ImageAnswer(dict[str, Any]):
    """The fields of the answer, as `Client.predict` gives them."""

    def __init__(self, answer: Mapping[str, Any], image: bytes) -> None:
        super().__init__(answer)
        self._image = image

    def __repr__(self) -> str:
        if "findings" in self:
            found = self["findings"].items()
            rows = [(name, each["probability"], each["present"]) for name, each in found]
            return "\n".join(
                f"{name:<24} {percent(p):>8}{'  present' * bool(present)}"
                for name, p, present in rows
            )
        likely = sorted(self["probabilities"].items(), key=lambda item: -item[1])[:_SHOWN]
        refer = "\nRefer: a person should look at this image." if self["refer"] else ""
        return "\n".join(f"{name:<24} {percent(p):>8}" for name, p in likely) + refer

    def _repr_html_(self) -> str:
        kinds = (kind for kind, start in _DRAWN.items() if self._image.startswith(start))
        kind = next(kinds, None)
        data = base64.b64encode(self._image).decode()
        picture = f'<img alt="" width="220" src="data:{kind};base64,{data}">' if kind else ""
        return f"{picture}<pre>{html.escape(repr(self))}</pre>"
