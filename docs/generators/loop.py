"""`python -m docs.generators.loop`: the moving picture in README.md, and the pictures of the demo
and of tried images, from the pages of a real demo.

It runs `candor demo` on PneumoniaMNIST, which it finds in CANDOR_DATA, and takes pictures of the
server's own pages, whole, with headless Chromium.
"""

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page

from calibration.document import Heading
from candor.demo.run import run_demo
from docs.generators.pictures import IMAGES, keep
from tests.builders.browser import open_browser, open_page
from tests.screenshots import try_images

MODEL: Final = "pneumoniamnist"
REPORT: Final = f"/models/{MODEL}/report/page"
PAGE_WIDTH: Final = 1080
SECONDS: Final = 4.0
COLORS: Final = 128
TRIED: Final = (0, 1)  # of the test images


def main() -> int:
    """Run the demo and write the pictures."""
    with tempfile.TemporaryDirectory() as name, open_browser() as browser:
        pages = list(shoot(browser, Path(name)))
        for plot in (Path(name) / "demo" / "pictures").iterdir():
            keep(plot, IMAGES / plot.name)
        frames = list(in_frames([Image.open(page).convert("RGB") for page in pages]))
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


def shoot(browser: Browser, folder: Path) -> Iterator[Path]:
    """Run the demo; yield pictures of its pages before the recalibration, and at the end."""
    data = Path(os.environ["CANDOR_DATA"])
    steps = run_demo(
        source=None,
        data_folder=data,
        cache=folder / "cache",
        out=folder / "demo",
        seed=0,
        once=False,
    )
    url = ""
    for part in steps:
        sys.stdout.write(f"{part}\n")
        url = url or (re.findall(r"http://127\.0\.0\.1:\d+", str(part)) or [""])[0]
        if isinstance(part, Heading) and part.text.startswith("4."):
            yield tried(browser, url, folder, IMAGES / "console-try.png")
            yield from walked(browser, url, folder)
        if str(part).startswith("The server is still running"):
            yield seen(browser, f"{url}{REPORT}", folder / "end.png")
            break
    steps.close()


def walked(browser: Browser, url: str, folder: Path) -> Iterator[Path]:
    """The alarm, and the remedy behind its first button."""
    with open_page(browser, width=PAGE_WIDTH) as page:
        page.goto(url + REPORT)
        yield whole(page, folder / "alarm.png")
        page.locator(".todo a.button").first.click()
        page.wait_for_url("**/recalibrate/**")
        yield whole(page, folder / "remedy.png")


def seen(browser: Browser, address: str, file: Path) -> Path:
    with open_page(browser, width=PAGE_WIDTH) as page:
        page.goto(address)
        return whole(page, file)


def whole(page: Page, file: Path) -> Path:
    """The page from top to bottom."""
    page.screenshot(path=file, full_page=True)
    return file


def tried(browser: Browser, url: str, folder: Path, picture: Path) -> Path:
    """The page to try images, with some of the test images; the docs have its picture, too."""
    known = np.load(Path(os.environ["CANDOR_DATA"]) / f"{MODEL}.npz")["test_images"]
    files = [folder / f"x-ray-{number}.png" for number in TRIED]
    for number, file in zip(TRIED, files, strict=True):
        Image.fromarray(known[number]).resize((224, 224)).save(file)
    with open_page(browser, width=PAGE_WIDTH) as page:
        page.goto(f"{url}/try/{MODEL}")
        try_images(page, files)
        keep(whole(page, folder / "try.png"), picture)
        return folder / "try.png"


def in_frames(pages: list[Image.Image]) -> Iterator[Image.Image]:
    """The pictures as frames of one size, each on the background of its page."""
    size = (PAGE_WIDTH, max(page.height for page in pages))
    for page in pages:
        frame = Image.new("RGB", size, page.getpixel((0, page.height - 1)))
        frame.paste(page)
        yield frame


if __name__ == "__main__":
    sys.exit(main())
