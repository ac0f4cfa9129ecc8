"""Recalibration, canaries and scopes in a real browser and server."""

from typing import Any

from playwright.sync_api import Browser, Locator, Page, expect

from model_store.store.store import Store
from tests.builders.browser import SCRIPT, label_answers, open_page, sign_in
from tests.builders.bundles import build_bundle, png
from tests.builders.processes import wait_until
from tests.builders.servers import Server, Start

TOKENS = "a-token-for-everything admin eve; a-token-for-reading read rita"


def reach(page: Page, name: str) -> None:
    """Move the focus with the Tab key alone, and press Enter there."""
    for _ in range(80):
        page.keyboard.press("Tab")
        focused = page.locator(":focus").all_text_contents()
        if " ".join(" ".join(focused).split()).startswith(name):
            page.keyboard.press("Enter")
            return
    raise AssertionError(f"the Tab key does not reach {name!r}")


def press(page: Page, name: str, why: str) -> None:
    """Type why, in the form with this button, and go on to the button by keyboard."""
    unfolded(page, name).get_by_label("Why").focus()
    page.keyboard.type(why)
    reach(page, name)


def unfolded(page: Page, name: str) -> Locator:
    """The form with this button, which a row of a table may fold."""
    button = page.get_by_role("button", name=name, include_hidden=True)
    form = page.locator("form", has=button)
    if not form.is_visible():
        form.locator("xpath=ancestor::details[1]/summary").click()
    return form


def answer_of(server: Server, *, version: int) -> dict[str, Any] | None:
    """An answer, if it is of this version: the server may not have read its share yet."""
    answer: dict[str, Any] = server.predict(png()).json()
    return answer if answer["version"] == version else None


@SCRIPT
def test_a_model_is_recalibrated_tried_promoted_and_rolled_back_by_keyboard(
    start: Start, tiny_store: Store, browser: Browser, script: bool
) -> None:
    server = start(tiny_store, tokens=TOKENS)
    server.client.headers["authorization"] = "Bearer a-token-for-everything"
    label_answers(server, count=240)
    with open_page(browser, script=script) as page:
        sign_in(page, server, "a-token-for-everything")
        page.goto(f"{server.url}/versions/tiny")
        reach(page, "Recalibrate")
        expect(page.get_by_role("heading", name="Recalibrate tiny")).to_be_visible()
        reach(page, "Show what it would do")
        expect(page.get_by_role("heading", name="Mends all answers")).to_be_visible()
        press(page, "Publish version 2 and try it on 10 %", "far too sure")
        expect(page.get_by_role("status")).to_contain_text("Version 2 is tried beside production")
        assert tiny_store.production("tiny") == 1
        form = unfolded(page, "Change what it answers")
        form.locator("input[name=share]").fill("100")
        press(page, "Change what it answers", "goes well")
        answer = wait_until(lambda: answer_of(server, version=2))
        press(page, "Put the canary into production", "better")
        expect(page.get_by_role("alert")).to_contain_text(
            "has a label, so nothing shows that it is as good"
        )
        label = {"prediction_id": answer["prediction_id"], "label": answer["predicted"]}
        assert server.client.post("/feedback", json=label).status_code == 200
        press(page, "Put the canary into production", "better")
        expect(page.get_by_role("status")).to_contain_text("Version 2 is in production")
        press(page, "Roll back to version 1", "worse after all")
        expect(page.get_by_role("status")).to_contain_text("Version 1 is in production")
        wait_until(lambda: server.predict(png()).json()["version"] == 1)
        said = page.locator(".log").text_content() or ""
        for part in (
            "eve published version 2: “far too sure”",
            "which answers 100 % of the requests: “goes well”",
        ):
            assert part in said
        assert "eve production: rolled back version 1: “worse after all”" in said


def test_no_form_acts_for_a_page_of_another_site(
    start: Start, tiny_store: Store, browser: Browser
) -> None:
    tiny_store.publish("tiny", build_bundle)
    server = start(tiny_store, tokens=TOKENS)
    server.client.headers["authorization"] = "Bearer a-token-for-everything"
    before = server.client.get("/models/tiny/report/history").json()
    with open_page(browser) as page:
        sign_in(page, server, "a-token-for-everything")
        # another site than 127.0.0.1, on which the session is
        page.goto(f"http://localhost:{server.port}/healthz")
        for path, fields in (
            ("/versions/tiny", {"action": "promote", "version": "2", "why": "x", "seen": "1"}),
            ("/models/tiny/report/page", {"note": "x"}),
        ):
            page.evaluate(
                "([url, fields]) => fetch(url, {method: 'POST', mode: 'no-cors', credentials: "
                "'include', "
                "body: new URLSearchParams(fields)})",
                [server.url + path, fields],
            )
    assert tiny_store.production("tiny") == 1
    assert server.client.get("/models/tiny/report/history").json() == before


def test_a_page_renews_what_changed_and_keeps_what_is_typed(
    start: Start, tiny_store: Store, browser: Browser
) -> None:
    tiny_store.publish("tiny", build_bundle)
    server = start(tiny_store)
    with open_page(browser) as page:
        page.goto(f"{server.url}/versions/tiny")
        why = unfolded(page, "Try version 2 beside production").get_by_label("Why")
        why.fill("half a sentence")
        page.locator("h1").click()  # the field has no focus any more
        tiny_store.promote("tiny", 2, by="somebody else")
        page.evaluate("renew()")
        expect(page.locator(".log")).to_contain_text("somebody else production: set version 2")
        expect(why).to_have_value("half a sentence")
        assert page.evaluate("performance.getEntriesByType('navigation').length") == 1
