"""What the distributions are built from: what git does not ignore, with README's links made
absolute, because the package index shows README without the repository.
"""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

from tests.release.environment import ROOT

_RELATIVE: Final = re.compile(r'(?P<before>\]\(|src=")(?!https?:|#|mailto:)(?P<path>[^)"\s]+)')
_PICTURES: Final = (".gif", ".jpg", ".png", ".svg")


def copy_source(folder: Path, *, address: str, revision: str) -> Path:
    """Copy the files that git does not ignore into an empty `folder`, which is returned.

    README's links lead to `revision` of the repository at `address`.
    """
    shutil.rmtree(folder, ignore_errors=True)
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in listed.stdout.decode().rstrip("\0").split("\0"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    readme = folder / "README.md"
    readme.write_text(absolute_links(readme.read_text(), address=address, revision=revision))
    return folder


def absolute_links(text: str, *, address: str, revision: str) -> str:
    """Markdown whose links to files lead to `revision` of the repository at `address`.

    >>> absolute_links("[a](docs/a.md#b) ![c](c.png)", address="https://x/y", revision="v1")
    '[a](https://x/y/blob/v1/docs/a.md#b) ![c](https://x/y/raw/v1/c.png)'
    """

    def lead(link: re.Match[str]) -> str:
        kind = "raw" if link["path"].endswith(_PICTURES) else "blob"
        return f"{link['before']}{address}/{kind}/{revision}/{link['path']}"

    return _RELATIVE.sub(lead, text).replace("git clone REPOSITORY", f"git clone {address}")
