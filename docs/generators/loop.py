"""`python -m docs.generators.loop`: the moving picture of the loop in README.md, and the pictures
of the demo and of tried images, from the pages of a real demo.

It runs `candor demo` on PneumoniaMNIST, which it finds in CANDOR_DATA, and pauses the demo after
each step to take pictures of the server's own pages with headless Chromium.
"""

import io
import os
import re
import signal
import subprocess
import sys
import tempfile
from base64 import b64encode
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from PIL import Image
from playwright.sync_api import Browser

from docs.generators.pictures import IMAGES, keep
from tests.builders.browser import open_browser, open_page
from tests.screenshots import try_images

MODEL: Final = "pneumoniamnist"
REPORT: Final = f"/models/{MODEL}/report/page"
PREVIEW: Final = (
    f"/recalibrate/{MODEL}?version=1&preview=yes&last=624&chosen_labels=yes&allow_label_changes=yes"
)
SIZE: Final = {"width": 900, "height": 560}
PAGE_WIDTH: Final = 1080
SECONDS: Final = 2.6
COLORS: Final = 128
TRIED: Final = (0, 1)  # of the test images
STEPS: Final = ("Train", "Export", "Serve", "Label", "Alarm", "Recalibrate", "Verify")
CAPTIONS: Final = {
    "Train": "Reliability on images of another site: confidence exceeds accuracy",
    "Export": "One ONNX file and a card that says how calibrated it is",
    "Serve": "Each prediction is in the ledger before it is sent",
    "Label": "The true classes come back; the gap so far is small",
    "Alarm": "Images of another site: the drift alarm is raised",
    "Recalibrate": "The simplest remedy that helps on labels it has not seen",
    "Verify": "The new version on images that it has not seen: no alarm",
}
STYLE: Final = """
body { margin: 0; font: 16px system-ui, sans-serif; background: #fff; color: #1c2b33 }
ol { display: flex; margin: 0; padding: 12px 14px 8px; gap: 6px; list-style: none }
li { flex: 1; text-align: center; padding: 6px 0; border-radius: 6px; background: #e8edf0 }
li.now { background: #0b6e8f; color: #fff; font-weight: 600 }
li.now.alarm { background: #b3261e }
p { margin: 0; padding: 0 16px 10px; font-size: 18px }
div { height: 470px; overflow: hidden; border-top: 1px solid #cfd8dc; text-align: center }
img { max-width: 100% }
img.plot { height: 100% }
"""


class Shot(NamedTuple):
    """A step of the loop and what is seen of it, as PNG."""

    step: str
    png: bytes
    is_plot: bool = False


def main() -> int:
    """Run the demo and write the pictures."""
    with tempfile.TemporaryDirectory() as name, open_browser() as browser:
        shots = list(shoot(browser, Path(name)))
        for plot in (Path(name) / "demo" / "pictures").iterdir():
            keep(plot, IMAGES / plot.name)
        frames = [Image.open(io.BytesIO(frame(browser, shot))).convert("RGB") for shot in shots]
    first, *others = [each.quantize(COLORS) for each in frames]
    first.save(
        IMAGES / "loop.gif",
        save_all=True,
        append_images=others,
        duration=round(SECONDS * 1000),
        loop=0,
        optimize=True,
    )
    return 0


def shoot(browser: Browser, folder: Path) -> Iterator[Shot]:
    """Run the demo; yield a picture for each step, while the demo is paused before the next."""
    demo = subprocess.Popen(
        [sys.executable, "-u", "-m", "candor", "demo", "--out", str(folder / "demo")],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert demo.stdout is not None
    url = ""
    try:
        for line in demo.stdout:
            sys.stdout.write(line)
            url = url or (re.findall(r"http://127\.0\.0\.1:\d+", line) or [""])[0]
            demo.send_signal(signal.SIGSTOP)
            yield from _after(line, browser, url, folder)
            demo.send_signal(signal.SIGCONT)
            if line.startswith("The server is still running"):
                return
    finally:
        demo.send_signal(signal.SIGCONT)
        demo.terminate()
        demo.wait()


def _after(line: str, browser: Browser, url: str, folder: Path) -> Iterator[Shot]:
    """The pictures of the steps that end where the demo prints this line."""
    if line.startswith("2. Export"):
        (plot,) = folder.glob("demo/runs/*dca*/plots/reliability_test_temperature.png")
        yield Shot("Train", plot.read_bytes(), is_plot=True)
    elif line.startswith("4. Label"):
        yield Shot("Export", seen(browser, f"{url}/versions/{MODEL}"))
        yield Shot("Serve", tried(browser, url, folder, images=TRIED[:1]))
    elif line.startswith("Drift detector: no alarm"):
        yield Shot("Label", seen(browser, url + REPORT))
    elif line.startswith("5. Drift"):
        yield Shot("Alarm", seen(browser, url + REPORT))
        yield Shot("Recalibrate", seen(browser, url + PREVIEW))
    elif line.startswith("The server is still running"):
        yield Shot("Verify", seen(browser, url + REPORT))
        (folder / "try.png").write_bytes(tried(browser, url, folder, images=TRIED))
        keep(folder / "try.png", IMAGES / "console-try.png")


def seen(browser: Browser, address: str) -> bytes:
    """The beginning of a page."""
    with open_page(browser, width=PAGE_WIDTH) as page:
        page.goto(address)
        return page.screenshot()


def tried(browser: Browser, url: str, folder: Path, *, images: Sequence[int]) -> bytes:
    """The page to try images, with these of the test images; of one, its answer alone."""
    known = np.load(Path(os.environ["CANDOR_DATA"]) / f"{MODEL}.npz")["test_images"]
    files = [folder / f"x-ray-{number}.png" for number in images]
    for number, file in zip(images, files, strict=True):
        Image.fromarray(known[number]).resize((224, 224)).save(file)
    with open_page(browser, width=PAGE_WIDTH) as page:
        page.goto(f"{url}/try/{MODEL}")
        try_images(page, files)
        if len(files) == 1:
            page.locator(".trial").evaluate("trial => trial.scrollIntoView()")
        return page.screenshot(full_page=len(files) > 1)


def frame(browser: Browser, shot: Shot) -> bytes:
    """A frame: the steps with this one marked, a sentence, and the picture."""
    marks = "".join(f"<li{_marked(step, shot.step)}>{escape(step)}</li>" for step in STEPS)
    source = f"data:image/png;base64,{b64encode(shot.png).decode()}"
    plot = " class=plot" if shot.is_plot else ""
    with open_page(browser, width=SIZE["width"]) as page:
        page.set_viewport_size(SIZE)
        page.set_content(
            f"<style>{STYLE}</style><ol>{marks}</ol><p>{escape(CAPTIONS[shot.step])}</p>"
            f"<div><img{plot} src='{source}'></div>"
        )
        return page.screenshot()


def _marked(step: str, now: str) -> str:
    if step != now:
        return ""
    return " class='now alarm'" if step == "Alarm" else " class=now"


if __name__ == "__main__":
    sys.exit(main())
