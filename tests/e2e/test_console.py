"""The console in a real browser, against a real server."""

import base64
import shutil
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from model_store.store.canary import start_canary
from model_store.store.samples import Sample, write_samples
from model_store.store.store import Store
from tests.builders.browser import assert_usable, open_page
from tests.builders.bundles import build_bundle, png
from tests.builders.dicoms import dicom, dicom_stack
from tests.builders.processes import wait_until
from tests.builders.servers import Server, Start

DROP = """
([name, content]) => {
  const transfer = new DataTransfer();
  const bytes = Uint8Array.from(atob(content), (each) => each.charCodeAt(0));
  transfer.items.add(new File([bytes], name, { type: "image/png" }));
  const options = { dataTransfer: transfer, bubbles: true, cancelable: true };
  document.querySelector("form[data-try]").dispatchEvent(new DragEvent("drop", options));
}
"""


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    names = {
        "first.png": png(1),
        "second.png": png(2),
        "<img src=x onerror=alert(1)>.png": b"no image",
    }
    for name, content in names.items():
        (tmp_path / name).write_bytes(content)
    return [tmp_path / name for name in names]


@pytest.fixture(scope="module")
def trying(
    start_shared: Start, published_once: Store, tmp_path_factory: pytest.TempPathFactory
) -> Server:
    """Its model has samples, and no answer in the ledger."""
    folder = tmp_path_factory.mktemp("trying") / "store"
    store = Store(Path(shutil.copytree(published_once.root, folder)))
    write_samples(store.storage, "tiny", [Sample("one & two", png(1)), Sample("three", png(3))])
    return start_shared(store)


def try_images(page: Page, images: list[Path]) -> None:
    page.set_input_files("#files", images)
    page.get_by_role("button", name="Classify").click()
    expect(page.locator(".trial")).to_have_count(len(images))


@pytest.mark.parametrize("script", [True, False], ids=["with script", "without script"])
def test_images_are_tried_from_the_first_page(
    trying: Server, browser: Browser, images: list[Path], script: bool
) -> None:
    with open_page(browser, script=script) as page:
        page.goto(trying.url)
        page.get_by_role("link", name="Try an image").click()
        try_images(page, images)
        expect(page.locator(".trial").first).to_contain_text("such answers")
        expect(page.locator(".trial").last).to_contain_text("onerror=alert(1)>.png: no answer")
        assert page.locator(".trial img").count() == 2
    assert trying.metric("candor_predictions_total") == 0


def test_a_sample_is_clicked_and_a_phone_shows_what_it_is_worth(
    trying: Server, browser: Browser
) -> None:
    with open_page(browser, width=390) as page:
        page.goto(f"{trying.url}/try/tiny")
        thumbnails = page.locator("button.sample img")
        expect(thumbnails).to_have_count(2)
        thumbnails.first.scroll_into_view_if_needed()
        wait_until(
            lambda: page.evaluate("document.querySelector('button.sample img').naturalWidth > 0")
        )
        page.get_by_role("button", name="one & two").click()
        sentence = page.locator(".trial .sentence").first
        expect(sentence).to_contain_text("such answers")
        expect(sentence).to_be_in_viewport()
        expect(page.locator(".trial figcaption").first).to_contain_text("one & two")
        page.locator("[data-look]").first.click()
        expect(page.locator("output[for=viewer-zoom]")).to_have_text("100 %")


def test_the_wheel_zooms_where_the_pointer_is(
    trying: Server, browser: Browser, images: list[Path]
) -> None:
    under = """([x, y]) => {
      const box = document.querySelector("#viewer canvas").getBoundingClientRect();
      return [(x - box.left) / box.width, (y - box.top) / box.height, box.width];
    }"""
    with open_page(browser) as page:
        page.goto(f"{trying.url}/try/tiny")
        try_images(page, images[:1])
        page.locator("[data-look]").first.click()
        canvas = page.locator("#viewer canvas")
        expect(page.locator("output[for=viewer-zoom]")).to_have_text("100 %")
        wait_until(
            lambda: page.evaluate("document.querySelector('#viewer canvas').clientWidth > 100")
        )
        box = canvas.bounding_box()
        at = [box["x"] + 0.7 * box["width"], box["y"] + 0.6 * box["height"]]
        page.mouse.move(*at)
        before = page.evaluate(under, at)
        page.mouse.wheel(0, -800)
        expect(page.locator("output[for=viewer-zoom]")).to_have_text("400 %")
        after = page.evaluate(under, at)
        assert after[2] > 3 * before[2]
        np.testing.assert_allclose(after[:2], before[:2], atol=0.01)
        page.keyboard.down("Shift")
        page.mouse.down()
        page.mouse.move(at[0] - 40, at[1] - 30)
        page.mouse.up()
        page.keyboard.up("Shift")
        moved = page.evaluate(under, at)
        shift = [40 / moved[2], 30 / moved[2] * box["width"] / box["height"]]
        np.testing.assert_allclose(np.subtract(moved[:2], after[:2]), shift, atol=0.01)


def test_an_image_is_dropped_and_labels_change_what_is_said(
    start: Start, tiny_store: Store, browser: Browser
) -> None:
    server = start(tiny_store)
    answers = [server.predict(png(1)).json() for _ in range(40)]
    wrong = next(name for name in answers[0]["probabilities"] if name != answers[0]["predicted"])
    labels = [{"prediction_id": each["prediction_id"], "label": wrong} for each in answers]
    content = ["a.png", base64.b64encode(png(1)).decode()]
    with open_page(browser) as page:
        page.goto(f"{server.url}/try/tiny")
        page.evaluate(DROP, content)
        expect(page.locator(".trial")).to_contain_text("nothing shows how often they are right")
        assert server.client.post("/feedback", json=labels).status_code == 200
        page.evaluate(DROP, content)
        expect(page.locator(".trial")).to_contain_text("Do not rely on")
        expect(page.locator(".trial")).to_contain_text("0 were right (0 in 100")


def test_answers_are_labeled_blind_and_by_keyboard_and_a_second_key_labels_nothing(
    start: Start, tiny_store: Store, browser: Browser
) -> None:
    server = start(tiny_store)
    answers = {
        each["prediction_id"]: each
        for each in (server.predict(png(seed)).json() for seed in range(5))
    }
    keys = "for (const key of {}) "
    keys += "document.body.dispatchEvent(new KeyboardEvent('keydown', {{ key, bubbles: true }}))"
    with open_page(browser) as page:
        page.goto(server.url)
        page.get_by_role("link", name="Label answers").click()
        for left in (4, 3, 2):
            answer = answers[page.locator("input[name=prediction_id]").get_attribute("value") or ""]
            assert "The model had said" not in page.locator("main section").last.inner_text()
            page.keyboard.press("2")  # malignant
            expect(page.get_by_role("status")).to_contain_text(
                "Your label is recorded: “malignant”"
            )
            said = "the same" if answer["predicted"] == "malignant" else f"“{answer['predicted']}”"
            expect(page.get_by_role("status")).to_contain_text(f"The model had said {said}")
            expect(page.get_by_role("main")).to_contain_text(f"{left} answer")
        page.evaluate(keys.format("['2', '1', '0']"))
        expect(page.get_by_role("status")).to_contain_text("Your label is recorded: “malignant”")
        expect(page.get_by_role("main")).to_contain_text("1 answer")
        page.evaluate(keys.format("['0', '1']"))
        expect(page.get_by_text("Back to the 1 that you skipped")).to_be_visible()
    assert server.client.get("/models/tiny/report").json()["coverage"]["labeled"] == 4


def test_pages_of_a_model_with_a_canary_fit_and_have_no_barrier(
    start: Start, tiny_store: Store, browser: Browser, images: list[Path]
) -> None:
    """Those that test_console_goals.py does not look at, or looks at with less on them."""
    tiny_store.publish("tiny", build_bundle)
    start_canary(tiny_store, "tiny", 2, mode="share", share=0.0)
    server = start(tiny_store)
    with open_page(browser) as page:
        for path in (
            "/try/tiny",
            "/versions/tiny?first=1&second=2",
            "/sign-in",
            "/nowhere",
        ):
            page.goto(server.url + path)
            if path == "/try/tiny":
                try_images(page, images)
            assert_usable(page, path)


def test_a_dicom_is_looked_at_with_window_and_zoom_by_key_and_pointer(
    trying: Server, browser: Browser, tmp_path: Path
) -> None:
    pixels = np.linspace(-1000, 1000, 200 * 100).reshape(200, 100).astype(np.int16)
    (tmp_path / "slice.dcm").write_bytes(dicom(pixels, WindowCenter=0, WindowWidth=400))
    with open_page(browser) as page:
        page.goto(f"{trying.url}/try/tiny")
        try_images(page, [tmp_path / "slice.dcm"])
        said = page.locator(".trial h2").inner_text()
        page.get_by_role("button", name="Window and zoom").press("Enter")
        viewer = page.get_by_role("dialog", name="slice.dcm")
        expect(viewer.locator("output").first).to_have_text("0")
        expect(viewer).to_contain_text("the model has answered already")
        before = grays(page)
        assert (before[0], before[-1]) == (0, 255)
        # 400 of 2,000 values are neither black nor white
        assert 14 < sum(20 < each < 235 for each in before) < 20
        viewer.get_by_label("Width of the window").focus()
        page.keyboard.press("End")
        expect(viewer.locator("output").nth(1)).to_have_text("4,000")
        assert 50 < grays(page)[0] < 100
        viewer.get_by_label("Zoom").focus()
        page.keyboard.press("End")
        frame = viewer.locator(".frame")
        assert frame.evaluate("(each) => each.scrollHeight / each.clientHeight") > 7
        viewer.get_by_role("button", name="As it was").click()
        assert grays(page) == before
        box = viewer.locator("canvas").bounding_box()
        page.mouse.move(box["x"] + 10, box["y"] + 10)
        page.mouse.down()
        page.mouse.move(box["x"] + 60, box["y"] + 40, steps=4)
        page.mouse.up()
        assert grays(page) != before
        assert Axe().run(page).violations_count == 0
        page.keyboard.press("Escape")
        expect(viewer).to_be_hidden()
        assert page.locator(".trial h2").inner_text() == said


def test_each_frame_of_a_file_is_tried_and_the_viewer_opens_that_one(
    trying: Server, browser: Browser, tmp_path: Path
) -> None:
    stack = np.stack([np.full((200, 100), value, np.uint8) for value in (10, 120, 240)])
    stack[:, :, :40] = np.arange(200, dtype=np.uint8)[:, np.newaxis]
    (tmp_path / "loop.dcm").write_bytes(dicom_stack(stack, WindowCenter=128, WindowWidth=256))
    with open_page(browser) as page:
        page.goto(f"{trying.url}/try/tiny")
        page.get_by_label("Frame of a DICOM file").fill("all")
        page.set_input_files("#files", tmp_path / "loop.dcm")
        page.get_by_role("button", name="Classify").click()
        expect(page.locator(".trial")).to_have_count(3)
        expect(page.locator(".trial figcaption").nth(2)).to_contain_text("loop.dcm, frame 3")
        page.locator(".trial").nth(1).get_by_role("button", name="Window and zoom").click()
        viewer = page.get_by_role("dialog", name="loop.dcm")
        expect(viewer.locator("output").first).to_have_text("128")
        assert set(grays(page)) <= {119, 120, 121}
        assert Axe().run(page).violations_count == 0


def test_a_request_is_sent_from_the_page_of_the_api_by_keyboard(
    start: Start, tiny_store: Store, browser: Browser, images: list[Path]
) -> None:
    server = start(tiny_store)
    with open_page(browser) as page:
        page.goto(f"{server.url}/docs")
        page.locator("details.fold > summary").first.click()
        classify = page.locator("details.operation").first
        expect(classify.get_by_label("model", exact=True)).to_have_value("tiny")
        classify.locator("input[type=file]").set_input_files(images[0])
        classify.get_by_label("model", exact=True).press("Enter")
        expect(classify.locator("[data-hint]")).to_contain_text("200 OK")
        expect(classify.locator("[data-answer]")).to_contain_text('"prediction_id"')
        expect(classify.locator("[data-sent]")).to_contain_text(
            "curl -X POST -H 'Content-Type: image/png'"
        )
        feedback = page.locator("details.operation", has_text="POST /feedback").first
        page.locator("details.fold > summary", has_text="Feedback").first.focus()
        page.keyboard.press("Enter")
        feedback.locator("summary").first.focus()
        page.keyboard.press("Enter")
        feedback.get_by_role("button", name="Send to this server").focus()
        page.keyboard.press("Enter")
        expect(feedback.locator("[data-hint]")).to_contain_text("422")
        expect(feedback.locator("[data-answer]")).to_contain_text('"error"')


def test_times_are_in_the_zone_of_the_browser(trying: Server, browser: Browser) -> None:
    for script in (True, False):
        context = browser.new_context(timezone_id="Asia/Tokyo", java_script_enabled=script)
        page = context.new_page()
        page.goto(f"{trying.url}/versions/tiny")
        made = page.locator("time").first
        expect(made).to_contain_text("JST" if script else "UTC")
        if script:
            assert (made.get_attribute("title") or "").endswith(" UTC")
        context.close()


def grays(page: Page) -> list[int]:
    """A column of the canvas, each second row, once it is drawn."""
    script = """() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => {
      const canvas = document.querySelector("#viewer canvas");
      const data = canvas.getContext("2d").getImageData(50, 0, 1, canvas.height).data;
      done(Array.from({ length: canvas.height / 2 }, (_, row) => data[8 * row]));
    })))"""
    found: list[int] = page.evaluate(script)
    return found
