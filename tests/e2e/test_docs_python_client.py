"""The program of docs/how-to/python-client.md, run as it stands against a real server."""

import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np

from model_store.store.store import Store
from tests.builders.bundles import build_bundle, png
from tests.builders.dicoms import dicom_stack
from tests.builders.processes import PATIENCE_S
from tests.builders.servers import Start

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-to" / "python-client.md"


def test_the_program_of_the_page_works(
    tmp_path: Path,
    start: Start,
) -> None:
    store = Store(tmp_path / "store")
    store.publish("chest", partial(build_bundle, name="chest", classes=("normal", "pneumonia")))
    store.promote("chest", 1)
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "one.png").write_bytes(png())
    (tmp_path / "scans" / "two.png").write_bytes(b"not an image")
    frames = np.random.default_rng(0).integers(0, 4096, (8, 20, 20)).astype(np.uint16)
    (tmp_path / "scans" / "loop.dcm").write_bytes(dicom_stack(frames))
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 5
    program = "".join(blocks).replace("http://127.0.0.1:8080", start(store).url)
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "\naccepted\n" in done.stdout
    assert re.search(r"^scans/one\.png \w+ [0-9a-f-]{36}$", done.stdout, re.MULTILINE)
    assert re.findall(r"^(\d) (loop\.dcm/\d) \w+$", done.stdout, re.MULTILINE) == [
        (str(number), f"loop.dcm/{number}") for number in range(1, 9)
    ]
    assert "scans/two.png was refused: the bytes are not an image" in done.stdout
    assert done.stdout.splitlines()[-1].startswith(("0.0 ", "1.0 "))
