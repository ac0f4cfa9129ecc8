"""No text of the console stays English by oversight: its pages in a language that puts translations
in brackets.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from model_store.lifecycle.canary import start_canary
from model_store.store.alias import current_user
from model_store.store.store import Store
from tests.builders.bundles import CLASSES
from tests.builders.pseudo_language import PSEUDO, speaking_in_brackets, untranslated
from tests.builders.services import Running, record_labeled, running

pytestmark = pytest.mark.anyio
PAGE = {
    "accept": "text/html",
    "accept-language": PSEUDO.code,
    "authorization": "Bearer a-token-for-everything",
}
FRAMES = "1, middle, all"  # words that are typed so in every language


@pytest.fixture(autouse=True)
def _brackets(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with speaking_in_brackets(monkeypatch):
        yield


@pytest.fixture
async def server(
    tiny_store: Store, tmp_path: Path, make_bundle: Callable[..., None]
) -> AsyncIterator[Running]:
    tiny_store.publish("tiny", make_bundle)
    start_canary(tiny_store, "tiny", 2, mode="share", share=0.1)
    async with running(
        tiny_store, tmp_path, tokens=SecretStr("a-token-for-everything admin eve")
    ) as started:
        yield started


def own_words(page: str) -> list[str]:
    """What is in the reader's language and was not translated; what is marked as English is looked
    at elsewhere.
    """
    return [
        text
        for text in untranslated(page, english=None)
        if text not in (*CLASSES, current_user(), FRAMES)
    ]


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/",
            "/try/tiny",
            "/label/tiny",
            "/versions/tiny",
            "/versions/tiny?first=1&second=2",
            "/sign-in",
            "/nowhere",
        ),
        *(
            "/recalibrate/tiny",
            "/recalibrate/tiny?preview=yes&min_labels=20&allow_label_changes=yes",
        ),
        *("/calibration/tiny/page", "/calibration/tiny/page?since=2026-01-01&until=2026-12-31"),
    ],
)
async def test_no_text_of_a_page_is_left_untranslated(server: Running, path: str) -> None:
    recorder = server.service.recorder
    assert recorder is not None
    record_labeled(recorder, server.service.models.find("tiny").calibration_id, CLASSES)
    answer = await server.client.get(path, headers=PAGE)
    assert "⟦" in answer.text
    assert own_words(answer.text) == []


async def test_no_text_about_a_tried_image_is_left_untranslated(
    server: Running, png: Callable[..., bytes]
) -> None:
    files = [("file", ("a.png", png())), ("file", ("b.png", b"none"))]
    answer = await server.client.post(
        "/try/tiny", files=files, data={"explain": "yes"}, headers=PAGE
    )
    assert answer.text.count('<section class="card trial') == 2
    assert own_words(answer.text) == []
