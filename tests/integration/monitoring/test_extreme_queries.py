"""Whatever a query holds, the answer is an answer or says what was wrong with it: never a 500."""

from pathlib import Path
from urllib.parse import quote

import pytest

from console.routes import LEDGER_PAGES
from monitoring.routes import ENDPOINTS
from tests.builders.monitored import MonitoredModel, page_client_of

EXTREME = (
    *("0001-01-01", "9999-12-31", "1969-12-31", "2262-04-12", "-0001-01-01", "2026-02-30"),
    *("0", "-1", "1e400", "nan", "inf", "-inf", "9" * 400, "999999999", "0x10", "٣", "1.5"),
    *("0-1", "1e-400-1", "nan-nan", "0.5-1e400", "days:999999999", "last:0", "days:10000"),
    *("ffffffff-ffff-ffff-ffff-ffffffffffff", "\x00", "\ud800", "a" * 5_000, "a=b", "=", ""),
)


@pytest.mark.anyio
async def test_no_value_of_a_query_is_a_server_error(
    monitored: MonitoredModel, tmp_path: Path
) -> None:
    monitored.answer(range(50), wrong=5, tags='{"site": "A"}')
    failed, asked = [], 0
    async with page_client_of(monitored, tmp_path) as client:
        for endpoint in (*ENDPOINTS, *LEDGER_PAGES):
            if endpoint.method != "GET" or endpoint.path == "/metrics":
                continue
            path = endpoint.path.replace("{model}", "pneumonia")
            for name in endpoint.known:
                for value in EXTREME:
                    written = quote(value.encode("utf-8", "surrogatepass"))
                    got = await client.get(f"{path}?{name}={written}")
                    asked += 1
                    if got.status_code >= 500:
                        failed.append((path, name, value[:30], got.status_code))
    assert asked > 1_000
    assert not failed
