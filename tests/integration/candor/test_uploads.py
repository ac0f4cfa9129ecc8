"""`candor predictions` and `candor feedback` with files, against a real server process."""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import Result

from candor.predictions.errors import PredictionsRefused
from model_store.store.store import Store
from serving.client import Client
from tests.builders.bundles import png
from tests.builders.processes import Process, candor_here, wait_until

TOKEN = "a-token-for-uploads"
Run = Callable[..., Result]


def started(verb: str, folder: Path, **settings: str) -> Iterator[str]:
    """The address of a server that asks for a token, until the block ends."""
    ledger = f"sqlite:///{folder / 'ledger.db'}"
    server = Process(verb, folder, ledger=ledger, tokens=f"{TOKEN} admin", **settings)
    yield server.url
    assert server.end() == 0
    server.stop()


def runner(folder: Path, url: str) -> Run:
    """A function that runs a command of an upload against the server."""
    (folder / "token").write_text(f"{TOKEN}\n")

    def run(*arguments: object) -> Result:
        where = ["--url", url, "--token-file", str(folder / "token")]
        return candor_here(*arguments, *where)

    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Has the ledger of the monitor, on which each test has a model of its own."""
    return tmp_path_factory.mktemp("monitor")


@pytest.fixture(scope="module")
def monitor(folder: Path) -> Iterator[Run]:
    """Commands against a `candor monitor`."""
    for url in started("monitor", folder):
        yield runner(folder, url)


@pytest.fixture
def server(tiny_store: Store, tmp_path: Path) -> Iterator[Run]:
    """Commands against a `candor serve` with the model "tiny"."""
    for url in started("serve", tmp_path, store=str(tiny_store.root)):
        with Client(url) as client:
            wait_until(client.ready)
        yield runner(tmp_path, url)


def test_predictions_and_labels_from_files(monitor: Run, tmp_path: Path) -> None:
    answers = {
        "request_id": [f"eye-{number}" for number in range(7)],
        "probabilities": [[0.2, 0.8]] * 6 + [[0.9, 0.8]],
        "remark": ["not sent"] * 7,
    }
    file = tmp_path / "answers.parquet"
    pq.write_table(pa.table(answers), file)
    sending = ("predictions", file, "--model", "retina", "--classes", "no, yes")
    done = monitor(*sending)
    assert (done.exit_code, done.stdout.splitlines()[:2]) == (1, ["accepted: 6", "rejected: 1"])
    assert "eye-6" in (tmp_path / "answers.parquet.rejected.csv").read_text()
    again = monitor(*sending, "--json")
    assert again.stderr.endswith("answers.parquet: not sent: remark\n")
    summary = json.loads(again.stdout)
    assert summary["statuses"] == {"unchanged": 6, "rejected": 1}
    assert summary["rejected_file"].endswith(".rejected.csv")

    labels = [f"retina,eye-{number},yes" for number in range(6)] + ["retina,eye-1,cat"]
    (tmp_path / "labels.csv").write_text("\n".join(["model,request_id,label", *labels]))
    done = monitor("feedback", tmp_path / "labels.csv")
    assert (done.exit_code, "accepted: 6" in done.stdout) == (1, True)
    assert "eye-1,cat" in (tmp_path / "labels.csv.rejected.csv").read_text()
    assert not list(tmp_path.glob("*.progress"))
    (tmp_path / "plain.csv").write_text("request_id,label\neye-1,yes\n")
    assert monitor("feedback", tmp_path / "plain.csv").exit_code == 2  # which model?
    assert monitor("feedback", tmp_path / "plain.csv", "--model", "retina").exit_code == 0


TABLES = {
    "marked": "request_id,p_Edema,p_Mass,Edema,Mass\n{id},0.7,0.1,1,\n",
    "bare": "request_id,Edema,Mass,label_Edema,label_Mass\n{id},0.7,0.1,1,-1\n",
    "listed": "request_id,p_Edema,p_Mass,label,looked_for\n{id},0.7,0.1,Edema,Edema\n",
}


def test_tables_of_findings_as_people_have_them(monitor: Run, folder: Path, tmp_path: Path) -> None:
    """Of each table, Edema is labeled present and Mass is unknown."""
    for place, (name, table) in enumerate(TABLES.items()):
        file = tmp_path / f"{name}.csv"
        file.write_text(table.format(id=name))
        first = () if place else ("--findings", "Edema=0.4,Mass")
        done = monitor("predictions", file, "--model", "chest", *first)
        assert (done.exit_code, done.stdout) == (0, "accepted: 1\n"), done.output
    later = {
        "columns": "request_id,Edema,Mass\nmarked,1,0\n",
        "nih": "request_id,Finding Labels\nlisted,Edema\n",
        "blank": "request_id,label,looked_for\nbare,Mass,\n",
    }
    for name, table in later.items():
        file = tmp_path / f"{name}.csv"
        file.write_text(table)
        options = ("--findings", "*", "--label", "Finding Labels") if name == "nih" else ()
        done = monitor("feedback", file, "--model", "chest", *options)
        status = "unchanged" if name == "blank" else "accepted"  # as nobody looked for anything
        assert (done.exit_code, done.stdout) == (0, f"{status}: 1\n"), done.output
    unnamed = monitor("feedback", tmp_path / "columns.csv")
    assert (unnamed.exit_code, "name the model" in unnamed.stderr) == (2, True)
    assert coverage(folder, "chest", "labeled") == {"Edema": 3, "Mass": 2}


def coverage(folder: Path, model: str, name: str) -> dict[str, int]:
    """How many answers of each finding were served or labeled, by the ledger's report."""
    ledger = f"sqlite:///{folder / 'ledger.db'}"
    report = candor_here("report", model, "--json", "--ledger", ledger)
    findings = json.loads(report.stdout)["findings"]
    return {each["finding"]: each["coverage"][name] for each in findings}


def test_findings_that_do_not_fit_are_refused(monitor: Run, folder: Path, tmp_path: Path) -> None:
    known = tmp_path / "known.csv"
    known.write_text(TABLES["marked"].format(id="known"))
    declared = ("--model", "lungs", "--findings", "Edema,Mass")
    assert monitor("predictions", known, *declared).exit_code == 0
    both = "request_id,p_Edema,p_Mass\nx,0.7,0.1\n"
    for table, *options in (
        ("request_id,p_Edema\nx,0.7\n",),
        (both, "--classes", "Edema,Mass"),
        (both, "--findings", "Edema=half"),
        ("request_id,p_Edema,p_Mass,label\nx,0.7,0.1,Edema|Mass\n",),  # looked for?
    ):
        (tmp_path / "wrong.csv").write_text(table)
        done = monitor("predictions", tmp_path / "wrong.csv", "--model", "lungs", *options)
        assert done.exit_code != 0, table
        assert coverage(folder, "lungs", "served") == {"Edema": 1, "Mass": 1}, table


def test_a_table_without_labels_is_refused_before_the_server_is_asked(tmp_path: Path) -> None:
    (tmp_path / "answers.csv").write_text("file,predicted\na.png,yes\n")
    done = runner(tmp_path, "http://127.0.0.1:9")("feedback", tmp_path / "answers.csv")
    assert isinstance(done.exception, PredictionsRefused)


def test_labels_are_joined_to_answers_by_file_name(
    server: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images in two wards with equal names, one of them damaged."""
    monkeypatch.chdir(tmp_path)
    names = ["one/scan.png", "one/M\u00fcller [2].png", "two/scan.png"]
    for seed, name in enumerate(names):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(png(seed))
    Path("two/text.png").write_text("not an image")
    assert server("predict", names[0], "--request-id", "filename").exit_code == 0
    alike = server("predict", "one", "two", "--request-id", "filename")
    assert isinstance(alike.exception, PredictionsRefused)
    done = server("predict", "one", "two", "--request-id", "path", "--csv", "answers.csv")
    assert (done.exit_code, "answers.csv: 4 rows" in done.stdout) == (1, True)
    with Path("answers.csv").open(newline="", encoding="utf-8") as stream:
        rows = {row["file"]: row for row in csv.DictReader(stream)}
    assert rows["two/text.png"]["error"]
    assert {row["request_id"] for row in rows.values()} == {*names, ""}
    good = rows["two/scan.png"]
    assert float(good["confidence"]) == float(good[f"probability {good['predicted']}"])
    assert "label" not in good  # a column `label` holds true labels
    first, second, third = (name[12:] for name in good if name.startswith("probability "))

    def feedback(*lines: str, options: tuple[str, ...] = ()) -> tuple[int, list[str]]:
        Path("labels.csv").write_text("\n".join(lines))
        done = server("feedback", "labels.csv", *options)
        return done.exit_code, done.stdout.splitlines()

    two = ("file;label", f"{names[0]};{first}", f".\\two\\scan.png;{second}")
    assert feedback(*two)[0] == 1  # both would be scan.png
    assert feedback(*two, options=("--request-id", "path")) == (0, ["accepted: 2"])
    unknown = ("file,label", f"unknown.png,{first}")
    assert feedback(*unknown) == (1, ["pending: 1"])
    assert feedback(*unknown, options=("--early",)) == (0, ["pending: 1"])
    # the first call's answer, by file name alone
    assert feedback("Path,label", f"elsewhere/scan.png,{third}") == (0, ["accepted: 1"])

    labeled = [row | {"label": first} for row in rows.values() if not row["error"]]
    with Path("labels.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(labeled[0]))
        writer.writeheader()
        writer.writerows(labeled)
    statuses = ["accepted: 1", "corrected: 1", "unchanged: 1"]
    assert server("feedback", "labels.csv").stdout.splitlines() == statuses


def test_one_label_that_finds_no_answer_is_an_error(server: Run) -> None:
    key = "01a215c2-5bdb-7401-a0ab-ff3e162231e3"
    done = server("feedback", "--prediction-id", key, "--label", "benign")
    assert (done.exit_code, done.stdout, key in done.stderr) == (1, "", True)


def test_answers_are_predictions_and_no_labels(monitor: Run, folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "answers.ndjson"
    with file.open("w") as stream:
        for number in range(100):
            answer = {"predicted": ("no", "yes")[number % 2], "confidence": 0.9, "refer": False}
            print(json.dumps({"request_id": f"eye-{number}"} | answer), file=stream)
    sent = monitor("predictions", file, "--model", "fundus", "--classes", "no,yes")
    assert (sent.exit_code, sent.stdout) == (0, "accepted: 100\n")
    ledger = f"sqlite:///{folder / 'ledger.db'}"
    report = candor_here("report", "fundus", "--ledger", ledger, "--json").stdout
    coverage = json.loads(report)["coverage"]
    assert (coverage["served"], coverage["labeled"]) == (100, 0)
    assert monitor("feedback", file, "--model", "fundus").exit_code != 0


def test_a_usage_error_shows_control_characters() -> None:
    for typed in (
        ["feed\x1b[31mback"],
        ["feedback", "--u\x1b]0;owned\x07"],
        ["predict", "a.png", "--url", "x\x1b[2J"],
    ):
        done = candor_here(*typed)
        assert done.exit_code == 2
        assert "\x1b[31m" not in done.output.replace("\x1b[31m\u256d", "")
        assert "\\x1b" in done.output
        assert "\x07" not in done.output
