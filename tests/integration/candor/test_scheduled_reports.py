"""`candor report --every`: what is due or missed is written once; no secret is printed."""

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import pytest

from candor.commands.scheduled_reports import Webhook, report_once
from serving.pages.report_document import Period, find_due
from serving.settings import load_settings
from tests.builders.answers import DAY_NS, label, make_row
from tests.builders.monitored import Clock, MonitoredModel
from tests.builders.processes import candor_here

TODAY = date(2026, 9, 21)  # of the tests' clock


class Listener:
    """A webhook that hears messages, and answers `status`."""

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []
        self.status = 200

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.status == 200:
            self.heard.append(json.loads(request.content))
        return httpx.Response(self.status, headers={"Location": "/elsewhere"})


@pytest.fixture
def monitored(tmp_path: Path) -> Iterator[MonitoredModel]:
    with MonitoredModel(tmp_path / "ledger.db", Clock()) as opened:
        opened.serve(make_row(1))
        opened.label(label(1))
        yield opened


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def later(monitored: MonitoredModel, days: int) -> None:
    clock = monitored.ledger.clock
    assert isinstance(clock, Clock)
    clock.now_ns += days * DAY_NS


def test_a_report_for_each_month_and_one_for_all_that_was_missed(
    tmp_path: Path, monitored: MonitoredModel
) -> None:
    folder = tmp_path / "reports"
    folder.mkdir()

    def run() -> bool:
        return report_once(monitored.ledger, folder, Period.MONTH, model=None, webhook=None)

    assert run()
    assert run()
    assert names(folder) == ["pneumonia-2026-09-21.html"]
    assert (
        "Answers served from 2026-08-01 to 2026-09-21"
        in (folder / "pneumonia-2026-09-21.html").read_text()
    )
    later(monitored, 9)  # the last day of September
    assert run()
    assert len(names(folder)) == 1
    later(monitored, 1)
    assert run()
    assert names(folder) == ["pneumonia-2026-09-21.html", "pneumonia-2026-10-01.html"]
    later(monitored, 80)  # down until 20 December: November's report and December's are one
    assert run()
    assert run()
    assert names(folder)[2:] == ["pneumonia-2026-12-20.html"]
    assert (
        "Answers served from 2026-10-01 to 2026-12-20"
        in (folder / "pneumonia-2026-12-20.html").read_text()
    )


@pytest.mark.parametrize(
    ("every", "newest", "since"),
    [
        (Period.DAY, None, "2026-09-20"),
        (Period.DAY, "2026-09-20", "2026-09-20"),
        (Period.DAY, "2026-09-21", None),
        (Period.WEEK, None, "2026-09-14"),
        (Period.WEEK, "2026-09-20", "2026-09-14"),
        (Period.WEEK, "2026-09-21", None),
        (Period.MONTH, "2026-09-01", None),
        (Period.MONTH, "2026-05-31", "2026-05-01"),
    ],
)
def test_what_is_due(tmp_path: Path, every: Period, newest: str | None, since: str | None) -> None:
    for name in ("a/b", "a"):
        (tmp_path / f"other-{name.replace('/', '')}.html").touch()
    if newest:
        (tmp_path / f"a%2Fb-{newest}.html").touch()
    due = find_due(tmp_path, "a/b", every, today=TODAY)
    assert (due and due.since.isoformat()) == since
    assert due is None or due.file.name == "a%2Fb-2026-09-21.html"


def test_a_webhook_gets_each_report_once_also_after_it_was_away(
    tmp_path: Path, monitored: MonitoredModel, capsys: pytest.CaptureFixture[str]
) -> None:
    listener = Listener()
    transport = httpx.MockTransport(listener)
    webhook = Webhook("http://127.0.0.1:1/s3cr3t-token", transport=transport)

    def run() -> bool:
        return report_once(
            monitored.ledger, tmp_path, Period.DAY, model="pneumonia", webhook=webhook
        )

    for status in (500, 302):
        listener.status = status
        assert not run()
    listener.status = 200
    assert run()
    assert run()
    (message,) = listener.heard
    assert message["text"].startswith("pneumonia version 1, answers since 2026-09-20: ")
    assert (message["state"], message["file"]) == ("unknown", "pneumonia-2026-09-21.html")
    assert "<title>Calibration report: pneumonia 1</title>" in message["html"]
    later(monitored, 3)
    assert run()
    assert [each["file"] for each in listener.heard] == [
        "pneumonia-2026-09-21.html",
        "pneumonia-2026-09-24.html",
    ]
    said = "".join(capsys.readouterr())
    assert "pneumonia-2026-09-21.html was not sent: the webhook on 127.0.0.1 answered 500" in said
    assert "s3cr3t" not in said


def test_as_typed(
    tmp_path: Path, monitored: MonitoredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, url = tmp_path / "out" / "reports", f"sqlite:///{tmp_path / 'ledger.db'}"
    asked = ["report", "--every", "month", "--to", str(folder), "--once", "--ledger", url]
    assert candor_here(*asked).exit_code == 0
    assert [name.split("-")[0] for name in names(folder)] == ["pneumonia"]
    monkeypatch.setenv("CANDOR_REPORT_WEBHOOK", "http://127.0.0.1:1/s3cr3t-token")
    failed = candor_here(*asked)
    assert failed.exit_code == 1
    assert "s3cr3t" not in failed.output
    assert "s3cr3t" not in repr(load_settings())
    for wrong in (
        ["--every", "month"],
        ["--to", str(folder)],
        ["--once"],
        ["--every", "year", "--to", str(folder)],
    ):
        assert candor_here("report", "--ledger", url, *wrong).exit_code == 2
