"""Pictures of the console's views, light, dark and on a phone: `python -m tests.screenshots URL
FOLDER [IMAGE ...]`.

URL is a running server without tokens, such as that of `candor serve` on the folder of a demo. The
images are tried. `python -m docs.generators.pictures --views FOLDER` needs no server: its data are
made up.
"""

import sys
from pathlib import Path
from typing import Final

import httpx
from playwright.sync_api import Browser, Page

from tests.builders.browser import open_browser, open_page

MODES: Final = {"light": (1200, False), "dark": (1200, True), "phone": (390, False)}


def main() -> int:
    if len(sys.argv) < 3:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    url, folder, images = (
        sys.argv[1].rstrip("/"),
        Path(sys.argv[2]),
        [Path(name) for name in sys.argv[3:]],
    )
    folder.mkdir(parents=True, exist_ok=True)
    model = httpx.get(f"{url}/models").json()["models"][0]["modelName"]
    views = {
        "models": "/",
        "try": f"/try/{model}",
        "model": f"/models/{model}/report/page",
        "label": f"/label/{model}",
        "versions": f"/versions/{model}",
        "recalibrate": f"/recalibrate/{model}",
        "sign-in": "/sign-in",
        "not-found": "/nowhere",
        "api": "/docs",
    }
    with open_browser() as browser:
        for mode, (width, dark) in MODES.items():
            for name, path in views.items():
                tried = images if name == "try" else []
                take(
                    browser,
                    url + path,
                    folder / f"{name}-{mode}.png",
                    width=width,
                    dark=dark,
                    images=tried,
                )
            if images:
                look(
                    browser,
                    f"{url}/try/{model}",
                    folder / f"viewer-{mode}.png",
                    images[0],
                    width=width,
                    dark=dark,
                )
    return 0


def take(
    browser: Browser,
    url: str,
    file: Path,
    *,
    width: int,
    dark: bool = False,
    height: int | None = None,
    images: list[Path] | None = None,
) -> None:
    """A picture of a page, or of its first `height` pixels, with images tried on it."""
    with open_page(browser, width=width, dark=dark) as page:
        page.goto(url)
        if images:
            try_images(page, images)
        clip = None if height is None else {"x": 0, "y": 0, "width": width, "height": height}
        page.screenshot(path=str(file), full_page=True, clip=clip)
    sys.stdout.write(f"{file}\n")


def look(browser: Browser, url: str, file: Path, image: Path, *, width: int, dark: bool) -> None:
    """A picture of the viewer with its window and zoom."""
    with open_page(browser, width=width, dark=dark) as page:
        page.goto(url)
        try_images(page, [image])
        page.get_by_role("button", name="Window and zoom").click()
        page.locator("dialog output").first.wait_for()
        page.screenshot(path=str(file))
    sys.stdout.write(f"{file}\n")


def try_images(page: Page, images: list[Path]) -> None:
    page.set_input_files("#files", images)
    page.get_by_role("button", name="Classify").click()
    page.locator(".trial").nth(len(images) - 1).wait_for()


if __name__ == "__main__":
    raise SystemExit(main())
