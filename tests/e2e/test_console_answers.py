"""From a figure to its answers in a real browser, and how many clicks people need."""

import re
from typing import Any

from playwright.sync_api import Browser, expect

from console.answers import SHOWN
from model_store.store.store import Store
from tests.builders.browser import SCRIPT, label_answers, open_page
from tests.builders.bundles import CLASSES
from tests.builders.processes import wait_until
from tests.builders.servers import Start


@SCRIPT
def test_a_figure_leads_to_its_answers_and_an_answer_to_its_label(
    start: Start, tiny_store: Store, browser: Browser, script: bool
) -> None:
    link = "https://pacs.example/?id={prediction_id}"
    server = start(tiny_store, image_link=link, keep_pictures_days="1")
    label_answers(server, count=60)
    with open_page(browser, script=script) as page:
        page.goto(f"{server.url}/models/tiny/report/page")
        page.get_by_role("link", name="Cases", exact=True).click()
        rows = page.locator("[data-cases] > *")
        expect(rows).to_have_count(SHOWN)
        page.get_by_role("link", name="Older").click()
        expect(rows).to_have_count(SHOWN)
        page.get_by_text("+ filter").click()
        page.get_by_label("Right or wrong").select_option("wrong")
        page.get_by_role("button", name="Show").click()
        expect(page.locator(".chip")).to_contain_text("wrong")
        wrong = server.client.get("/models/tiny/answers?wrong=1").json()
        expect(rows).to_have_count(min(SHOWN, len(wrong["answers"])))
        expect(rows.first.locator("a[rel]")).to_have_attribute(
            "href", link.format(prediction_id=wrong["answers"][0]["prediction_id"])
        )
        rows.first.get_by_role("link", name="Correct").click()
        truth = wrong["answers"][0]["predicted"]
        page.locator(f"form[data-label] button[value={truth}]").click()
        expect(page.get_by_role("status")).to_contain_text("corrected")
    after = server.client.get("/models/tiny/answers?wrong=1").json()
    assert len(after["answers"]) == len(wrong["answers"]) - 1


def test_cases_are_walked_kept_enlarged_labeled_and_undone_by_keys(
    start: Start, tiny_store: Store, browser: Browser
) -> None:
    server = start(tiny_store, keep_pictures_days="1")
    label_answers(server, count=8)

    def listed() -> list[dict[str, Any]]:
        return server.client.get("/models/tiny/answers").json()["answers"]

    wait_until(lambda: all(each["has_picture"] for each in listed()))  # pictures follow answers
    second, third, *_ = listed()[1:]
    with open_page(browser) as page:
        page.goto(f"{server.url}/models/tiny/answers/page")
        for step in "jjjk":  # to the third case, and back to the second
            page.keyboard.press(step)
        at = page.locator("[data-cases] > :focus")
        expect(at).to_have_id(second["prediction_id"])
        page.keyboard.press("s")
        expect(page.get_by_role("link", name="for a meeting: 1")).to_be_visible()
        expect(at).to_have_id(second["prediction_id"])
        page.keyboard.press("j")
        page.keyboard.press("Enter")
        expect(page).to_have_url(re.compile(f"case={third['prediction_id']}$"))
        for number in range(2):  # the image, and what the model looked at
            drawn = page.locator(".enlarged img").nth(number)
            expect(drawn).to_have_js_property("complete", True)
            assert drawn.evaluate("image => image.naturalWidth") > 0
        expect(page.locator(".enlarged .sentence").first).to_contain_text("such answers at")
        page.keyboard.press("l")
        expect(page.locator("form[data-label]")).to_be_visible()
        other = 1 + next(at for at, name in enumerate(CLASSES) if name != third["label"])
        page.keyboard.press(str(other))
        expect(page.get_by_role("status")).to_contain_text(f"corrected to “{CLASSES[other - 1]}”")
        page.keyboard.press("u")
        expect(page.get_by_role("status")).to_contain_text(f"corrected to “{third['label']}”")
        assert listed()[2]["label"] == third["label"]
        page.keyboard.press("Escape")
        expect(at).to_have_id(third["prediction_id"])
