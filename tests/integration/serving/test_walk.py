"""An image's way, as docs/architecture.md draws it: with every file that it passes."""

import asyncio
import gc
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from model_store.store.store import Store
from tests.builders.bundles import jpeg, png
from tests.builders.services import running

ROOT = Path(__file__).parents[3]
ROOMS = ("calibration", "console", "hosting", "model_store", "monitoring", "serving")
IN_GRANIAN = "hosting/http_server.py"  # which tests bypass here
THREADS = ("MainThread", "candor-tiny-", "candor-recorder")  # others look after the store and more
IN_PROCESSES = {"serving/decoding/process.py", "serving/decoding/channel.py"}


class Trace:
    """The files of Candor in which functions are called, in this thread and those begun now."""

    def __init__(self) -> None:
        self.files: set[str] = set()
        self.running = False

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        file = frame.f_code.co_filename
        if not (self.running and event == "call" and file.startswith(str(ROOT))):
            return
        if threading.current_thread().name.startswith(THREADS):
            self.files.add(str(Path(file).relative_to(ROOT)))

    @contextmanager
    def started(self) -> Iterator[None]:
        threading.setprofile(self)
        sys.setprofile(self)
        try:
            yield
        finally:
            sys.setprofile(None)
            threading.setprofile(None)


@pytest.mark.parametrize(("image", "processes"), [(png(), set()), (jpeg(), IN_PROCESSES)])
def test_the_way_of_an_image_is_drawn_with_every_file(
    tiny_store: Store, tmp_path: Path, image: bytes, processes: set[str]
) -> None:
    trace = Trace()

    async def answer_twice() -> None:
        async with running(tiny_store, tmp_path) as server:
            await server.predict(image)
            gc.collect()  # what other tests left
            gc.disable()
            trace.running = True
            assert (await server.predict(image)).status_code == 200
            trace.running = False
            gc.enable()

    with trace.started():
        asyncio.run(answer_twice())
    passed = {file for file in trace.files if file.startswith(ROOMS) and "tests" not in file}
    page = (ROOT / "docs" / "architecture.md").read_text()
    way = page.partition("takes one way")[2].partition("The event loop does all but this")[0]
    drawn = set(re.findall(r"`(\w+/[\w/]+\.py)`", way))
    assert passed == drawn - {IN_GRANIAN} - (IN_PROCESSES - processes)
    assert len(passed - IN_PROCESSES) < 38
