"""Pictures of the console's views, light, dark and on a phone: `python -m tests.screenshots URL FOLDER [IMAGE ...]`.

URL is a running server without tokens, such as that of `candor serve` on the folder of a demo. The images are tried.
"""

import sys
from pathlib import Path

import httpx
from playwright.sync_api import Browser, Page

from tests.builders.browser import open_browser, open_page

MODES = {"light": (1200, False), "dark": (1200, True), "phone": (390, False)}


def main() -> int:
    if len(sys.argv) < 3:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    url, folder, images = sys.argv[1].rstrip("/"), Path(sys.argv[2]), [Path(name) for name in sys.argv[3:]]
    folder.mkdir(parents=True, exist_ok=True)
    model = httpx.get(f"{url}/models").json()["models"][0]["modelName"]
    views = {
        "models": "/",
        "try": f"/try/{model}",
        "model": f"/calibration/{model}/page",
        "label": f"/label/{model}",
        "versions": f"/versions/{model}",
        "api": "/docs",
    }
    with open_browser() as browser:
        for mode in MODES:
            for name, path in views.items():
                take(browser, url + path, folder / f"{name}-{mode}.png", mode, images if name == "try" else [])
    return 0


def take(browser: Browser, url: str, file: Path, mode: str, images: list[Path]) -> None:
    width, dark = MODES[mode]
    with open_page(browser, width=width, dark=dark) as page:
        page.goto(url)
        if images:
            try_images(page, images)
        page.screenshot(path=str(file), full_page=True)
    sys.stdout.write(f"{file}\n")


def try_images(page: Page, images: list[Path]) -> None:
    page.set_input_files("#files", images)
    page.get_by_role("button", name="Classify").click()
    page.locator(".trial").nth(len(images) - 1).wait_for()


if __name__ == "__main__":
    raise SystemExit(main())
