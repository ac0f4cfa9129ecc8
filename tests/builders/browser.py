"""A real Chromium, driven by Playwright: Debian's, or the one that CHROMIUM names."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from calibration.calibrators.temperature import softmax
from tests.builders.bundles import png
from tests.builders.processes import PATIENCE_S, Process
from tests.builders.programs import find, install_command

SCRIPT = pytest.mark.parametrize(
    "script",
    [
        pytest.param(True, id="with script"),
        pytest.param(False, id="without script", marks=pytest.mark.nightly),
    ],
)


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Raises RuntimeError without a Chromium."""
    found = find("chromium")
    if found is None:
        raise RuntimeError(f"Chromium is missing: {install_command(['chromium'])}, or set CHROMIUM")
    expect.set_options(timeout=1_000 * PATIENCE_S)
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
    context.set_default_timeout(1_000 * PATIENCE_S)
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


def assert_usable(page: Page, name: str = "") -> None:
    """No rule of axe is broken on a wide page in light colors and on a narrow one in dark ones,
    and the page is no wider than its screen; on a wide one, it is at most two screens high.
    """
    for width, scheme in ((1280, "light"), (320, "dark")):
        page.emulate_media(color_scheme=scheme)
        assert_fits(page, width, 1_800 if width > 1_000 else None, name)
        found = Axe().run(page, options={"resultTypes": ["violations"]})
        assert found.violations_count == 0, f"{name} {scheme}\n{found.generate_report()}"


def assert_fits(page: Page, width: int, most: int | None, name: str = "") -> None:
    """The page is no wider than a screen of `width` and no higher than `most` pixels."""
    page.set_viewport_size({"width": width, "height": 900})
    high, wide = (
        page.evaluate(f"document.documentElement.scroll{side}") for side in ("Height", "Width")
    )
    assert wide <= width, name
    assert most is None or high <= most, name


def sign_in(page: Page, server: Process, token: str) -> None:
    page.goto(f"{server.url}/sign-in")
    page.get_by_label("Your token").fill(token)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Models")).to_be_visible()


def label_answers(
    server: Process,
    *,
    count: int,
    monitor: Process | None = None,
    headers: Mapping[str, str] | None = None,
    wrong: bool = False,
) -> None:
    """Label real answers as if confidence were far too high; `wrong`: as if each were wrong."""
    rng, labels = np.random.default_rng(0), []
    for seed in range(count):
        sent = server.client.post("/predictions/tiny", content=png(seed), headers=headers)
        answer = sent.json()
        names = list(answer["probabilities"])
        honest = softmax(np.log(np.array([[*answer["probabilities"].values()]]) + 1e-9) / 4)[0]
        label = str(rng.choice(names, p=honest))
        if wrong:
            label = next(name for name in names if name != answer["predicted"])
        labels.append({"prediction_id": answer["prediction_id"], "label": label})
    told = (monitor or server).client.post("/feedback", json=labels, headers=headers)
    assert told.status_code == 200


def _is_fault(kind: str, text: str) -> bool:
    # a refusal that the test asks for
    return kind == "error" and "the server responded with a status of 4" not in text
