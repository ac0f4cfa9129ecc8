"""The page about signing in agrees with the code: the scope of each page, the life of a session,
and its cookie.
"""

import re
from pathlib import Path

from serving.http.sessions import COOKIE, LIFETIME_S
from serving.openapi.endpoints import ENDPOINTS as DESCRIPTION_ENDPOINTS
from serving.process import monitor_server
from serving.process.server import ENDPOINTS

TEXT = (Path(__file__).parents[2] / "docs" / "how-to" / "sign-in.md").read_text()
OPEN_TO_ALL = {
    "/sign-in",
    "/sign-out",
    "/time-zone",
    "/static/{name}",
    "/healthz",
    "/readyz",
    "/ping",
}


def test_each_page_is_listed_with_the_scope_that_it_needs() -> None:
    listed = {
        (method, path): scope
        for method, path, scope in re.findall(r"\| `(\w+) (/\S*)` \| `(\w+)` \|", TEXT)
    }
    declared = {
        (each.method, each.path): each.scope
        for each in (*DESCRIPTION_ENDPOINTS, *ENDPOINTS, *monitor_server.DECLARED)
    }
    assert listed == {each: declared[each] for each in listed}
    pages = {
        (each.method, each.path)
        for each in (*DESCRIPTION_ENDPOINTS, *ENDPOINTS)
        if each.method == "GET" and "text/html" in each.gives and each.path not in OPEN_TO_ALL
    }
    assert pages <= set(listed)


def test_it_names_the_cookie_and_its_hours() -> None:
    assert f"`{COOKIE}=...`" in TEXT
    assert f"**{LIFETIME_S // 3600} hours**" in TEXT
