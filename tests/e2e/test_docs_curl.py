"""The curl lines of docs/reference/http-api.md, run as they stand against a real server."""

import json
import re
import subprocess
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from model_store.store.store import Store
from tests.builders.bundles import build_bundle, png
from tests.builders.dicoms import dicom_stack
from tests.builders.processes import PATIENCE_S
from tests.builders.servers import Start

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "http-api.md"
PRINTED = "http://127.0.0.1:8080"


def examples() -> list[str]:
    """The commands of the page that begin with curl, with the lines that continue them."""
    text = PAGE.read_text()
    return [
        found.replace("\n      ", " ")
        for found in re.findall(r"^    (curl .*(?:\n      .*)*)", text, re.M)
    ]


@pytest.fixture
def url(tmp_path: Path, start: Start) -> str:
    """A server of the page's model; the image that it sends is in the current folder."""
    store = Store(tmp_path / "store")
    classes = ("normal", "pneumonia")
    store.publish("pneumoniamnist", partial(build_bundle, name="pneumoniamnist", classes=classes))
    store.promote("pneumoniamnist", 1)
    (tmp_path / "x-ray.png").write_bytes(png())
    (tmp_path / "loop.dcm").write_bytes(
        dicom_stack(np.arange(1200, dtype=np.uint16).reshape(3, 20, 20))
    )
    return start(store).url


@pytest.mark.programs("curl")
def test_every_curl_example_works(url: str, tmp_path: Path) -> None:
    commands = examples()
    assert len(commands) >= 4
    given = ""
    for command in commands:
        filled = command.replace(PRINTED, url).replace(
            '"prediction_id": "..."', f'"prediction_id": "{given}"'
        )
        (tmp_path / "labels.csv").write_text(f"prediction_id,label\n{given},pneumonia\n")
        done = subprocess.run(
            ["bash", "-ec", filled],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        assert '"error"' not in done.stdout, f"{command}\n{done.stdout}"
        if "/predictions/" in command and done.stdout:
            answer = json.loads(done.stdout)
            given = (
                answer[-1]["prediction_id"] if isinstance(answer, list) else answer["prediction_id"]
            )
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")
