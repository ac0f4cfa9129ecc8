"""A real Chromium, driven by Playwright: Debian's, or the one that CHROMIUM names."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def open_browser() -> Iterator[Browser]:
    found = os.environ.get("CHROMIUM") or next(
        (path for name in NAMES if (path := shutil.which(name))), None
    )
    assert found, (
        "Chromium is missing: on Debian, apt-get install chromium; elsewhere set CHROMIUM to its "
        "path."
    )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def open_page(
    browser: Browser, *, width: int = 1200, dark: bool = False, script: bool = True
) -> Iterator[Page]:
    """A page that must not log an error."""
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme="dark" if dark else "light",
        java_script_enabled=script,
    )
    page, faults = context.new_page(), list[str]()
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on(
        "console",
        lambda message: (
            faults.append(message.text) if _is_fault(message.type, message.text) else None
        ),
    )
    yield page
    context.close()
    assert faults == []


def _is_fault(kind: str, text: str) -> bool:
    return (
        kind == "error" and "the server responded with a status of 4" not in text
    )  # a refusal that the test asks for
