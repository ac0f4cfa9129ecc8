"""The curl lines of docs/api.md, run as they stand against a real server."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from model_store.bundle import Bundle
from model_store.store import Store

pytestmark = pytest.mark.e2e

PAGE = Path(__file__).parents[2] / "docs" / "api.md"
PRINTED = "http://127.0.0.1:8080"


def examples() -> list[str]:
    """The commands of the page that begin with curl, with the lines that continue them."""
    text = PAGE.read_text()
    return [found.replace("\n      ", " ") for found in re.findall(r"^    (curl .*(?:\n      .*)*)", text, re.M)]


@pytest.fixture
def url(tmp_path: Path, make_bundle: Callable[..., Bundle], png: Callable[..., bytes]) -> Iterator[str]:
    """A server of the model that the page speaks of; the image that it sends lies in the current folder."""
    store = Store(tmp_path / "store")
    classes = ("normal", "pneumonia")
    store.publish("pneumoniamnist", partial(make_bundle, name="pneumoniamnist", classes=classes))
    store.promote("pneumoniamnist", 1)
    (tmp_path / "x-ray.png").write_bytes(png())
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CANDOR_")} | {
        "CANDOR_PORT": "0",
        "CANDOR_STORE": str(store.root),
        "CANDOR_LEDGER": f"sqlite:///{tmp_path / 'ledger.db'}",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "candor", "serve"], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    address = process.stdout.readline().split()[-1]
    while httpx.get(f"{address}/readyz").status_code != 200:
        time.sleep(0.02)
    yield address
    process.terminate()
    assert process.wait(30) == 0
    process.stdout.close()


def test_every_curl_example_works(url: str, tmp_path: Path) -> None:
    commands = examples()
    assert len(commands) >= 4
    given = ""
    for command in commands:
        filled = command.replace(PRINTED, url).replace('"prediction_id": "..."', f'"prediction_id": "{given}"')
        (tmp_path / "labels.csv").write_text(f"prediction_id,label\n{given},pneumonia\n")
        done = subprocess.run(["bash", "-ec", filled], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        assert '"error"' not in done.stdout, f"{command}\n{done.stdout}"
        if "/predictions/" in command and done.stdout:
            given = json.loads(done.stdout)["prediction_id"]
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")
