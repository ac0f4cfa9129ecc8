"""`candor predictions` and `candor feedback` with files, against a real server process."""

import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from candor.command_line import app
from candor.predictions.errors import ImagesRefused
from model_store.store.store import Store
from serving.client import Client, ServerRefused
from tests.builders.processes import PATIENCE_S, wait_until


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A `candor monitor` with a token for everything."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CANDOR_")}
    settings = {"CANDOR_PORT": "0", "CANDOR_LEDGER": f"sqlite:///{tmp_path / 'ledger.db'}"}
    settings["CANDOR_TOKENS"] = "a-token-for-uploads admin"
    command = [sys.executable, "-m", "candor", "monitor"]
    with subprocess.Popen(
        command, env=kept | settings, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
        process.terminate()
        assert process.wait(timeout=PATIENCE_S) == 0


def test_predictions_and_labels_from_files(url: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("a-token-for-uploads\n")

    def run(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(
            app, [*arguments, "--url", url, "--token-file", str(tmp_path / "token")]
        )
        return done.exit_code, done.output

    answers = {
        "request_id": [f"eye-{number}" for number in range(7)],
        "probabilities": [[0.2, 0.8]] * 6 + [[0.9, 0.8]],
        "remark": ["not sent"] * 7,
    }
    pq.write_table(pa.table(answers), tmp_path / "answers.parquet")
    sending = (
        "predictions",
        str(tmp_path / "answers.parquet"),
        "--model",
        "retina",
        "--classes",
        "no, yes",
    )
    code, said = run(*sending)
    assert (code, "accepted: 6" in said, "rejected: 1" in said) == (1, True, True), said
    rejected = (tmp_path / "answers.parquet.rejected.csv").read_text()
    assert "add up to 1" in rejected
    assert "eye-6" in rejected
    again = CliRunner().invoke(
        app, [*sending, "--json", "--url", url, "--token-file", str(tmp_path / "token")]
    )
    assert again.stderr.endswith("answers.parquet: not sent: remark\n")
    summary = json.loads(again.stdout)
    assert summary["statuses"] == {"unchanged": 6, "rejected": 1}
    assert summary["rejected_file"].endswith(".rejected.csv")

    labels = [f"retina,eye-{number},yes" for number in range(6)] + ["retina,eye-1,cat"]
    (tmp_path / "labels.csv").write_text("\n".join(["model,request_id,label", *labels]))
    code, said = run("feedback", str(tmp_path / "labels.csv"))
    assert (code, "accepted: 6" in said) == (1, True), said
    assert "'cat' is not a class" in (tmp_path / "labels.csv.rejected.csv").read_text()
    assert not list(tmp_path.glob("*.progress"))
    (tmp_path / "plain.csv").write_text("request_id,label\neye-1,yes\n")
    code, said = run("feedback", str(tmp_path / "plain.csv"))
    assert (
        code,
        "a monitor does not say which model" in " ".join(said.replace("│", " ").split()),
    ) == (2, True), said
    assert run("feedback", str(tmp_path / "plain.csv"), "--model", "retina")[0] == 0


@pytest.fixture
def served(tiny_store: Store, tmp_path: Path) -> Iterator[str]:
    """A `candor serve` with the model "tiny", which asks for a token."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CANDOR_")}
    settings = {"CANDOR_PORT": "0", "CANDOR_LEDGER": f"sqlite:///{tmp_path / 'ledger.db'}"}
    settings |= {"CANDOR_TOKENS": "a-token-for-uploads admin", "CANDOR_STORE": str(tiny_store.root)}
    command = [sys.executable, "-m", "candor", "serve"]
    with subprocess.Popen(
        command, env=kept | settings, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        address = process.stdout.readline().split()[-1]
        with Client(address) as client:
            wait_until(client.ready)
        yield address
        process.terminate()
        assert process.wait(timeout=PATIENCE_S) == 0


def test_labels_are_joined_to_answers_by_file_name(
    served: str, png: Callable[..., bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images in two wards with equal names, one of them damaged: predicted, labeled, and each
    answer found again.
    """
    monkeypatch.chdir(tmp_path)
    Path("token").write_text("a-token-for-uploads\n")
    for seed, name in enumerate(["one/scan.png", "one/M\u00fcller [2].png", "two/scan.png"]):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(png(seed))
    Path("two/text.png").write_text("not an image")

    def run(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, [*arguments, "--url", served, "--token-file", "token"])
        return done.exit_code, done.output

    code, said = run("predict", "one/scan.png", "--request-id", "filename")
    assert (code, "  request id     scan.png" in said, "  prediction id  " in said) == (
        0,
        True,
        True,
    ), said
    assert re.search(r"probabilities  \w+ 0\.\d+, \w+ 0\.\d+, \w+ 0\.\d+\n", said)
    assert re.search(r"one/scan.png: \w+ 0\.\d+, (refer to a person|no referral)\n", said)

    with pytest.raises(ImagesRefused, match="--request-id path"):
        CliRunner().invoke(
            app,
            ["predict", "one", "two", "--url", served, "--request-id", "filename"],
            catch_exceptions=False,
        )
    code, said = run("predict", "one", "two", "--request-id", "path", "--csv", "answers.csv")
    assert (code, "answers.csv: 4 rows" in said) == (1, True), said
    with Path("answers.csv").open(newline="", encoding="utf-8") as stream:
        rows = {row["file"]: row for row in csv.DictReader(stream)}
    assert "not an image" in rows["two/text.png"]["error"]
    assert {row["request_id"] for row in rows.values()} == {
        "one/scan.png",
        "one/M\u00fcller [2].png",
        "two/scan.png",
        "",
    }
    assert len({row["prediction_id"] for row in rows.values()}) == 4
    good = rows["two/scan.png"]
    assert float(good["confidence"]) == float(good[f"probability {good['predicted']}"])
    assert "label" not in good  # a column `label` holds true labels

    classes = [
        name.removeprefix("probability ") for name in good if name.startswith("probability ")
    ]
    Path("labels.csv").write_text(
        f"file,label\none/scan.png,{classes[0]}\ntwo/scan.png,{classes[1]}\n"
    )
    with pytest.raises(ImagesRefused, match=r"one/scan\.png and two/scan\.png would both label"):
        CliRunner().invoke(
            app,
            ["feedback", "labels.csv", "--url", served, "--token-file", "token"],
            catch_exceptions=False,
        )
    Path("labels.csv").write_text(
        f"file;label\none/scan.png;{classes[0]}\n.\\two\\scan.png;{classes[1]}\n"
    )
    assert run("feedback", "labels.csv", "--request-id", "path") == (0, "accepted: 2\n")
    Path("labels.csv").write_text(f"file,label\nunknown.png,{classes[0]}\n")
    code, said = run("feedback", "labels.csv")
    assert (code, said.startswith("pending: 1\npending: no answer has this request id yet")) == (
        1,
        True,
    ), said
    assert (
        "no label found its answer. If these labels come before their answers, say --early" in said
    )
    code, said = run("feedback", "labels.csv", "--early")
    assert (code, "no label found its answer" in said) == (0, False), said
    code, said = run("feedback", "labels.csv", "--json")
    assert (code, "no label found its answer" in said) == (1, True), said
    Path("labels.csv").write_text(f"file,label\nelsewhere/scan.png,{classes[2]}\n")
    assert run("feedback", "labels.csv") == (
        0,
        "accepted: 1\n",
    )  # the first call's answer, by file name alone

    labeled = [row | {"label": classes[0]} for row in rows.values() if not row["error"]]
    with Path("answers.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(labeled[0]))
        writer.writeheader()
        writer.writerows(labeled)
    assert run("feedback", "answers.csv") == (0, "accepted: 1\ncorrected: 1\nunchanged: 1\n")


def test_one_label_that_finds_no_answer_is_an_error(served: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("a-token-for-uploads\n")
    asked = [
        "feedback",
        "--prediction-id",
        "01a215c2-5bdb-7401-a0ab-ff3e162231e3",
        "--label",
        "benign",
    ]
    done = CliRunner().invoke(
        app, [*asked, "--url", served, "--token-file", str(tmp_path / "token")]
    )
    assert done.exit_code == 1
    assert done.stdout == ""
    assert (
        "01a215c2-5bdb-7401-a0ab-ff3e162231e3 was not labeled: the server's ledger has no answer"
        in done.stderr
    )


def test_a_wrong_token_is_said_once(served: str, png: Callable[..., bytes], tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(png())
    with pytest.raises(ServerRefused, match="401"):
        CliRunner().invoke(app, ["predict", str(tmp_path), "--url", served], catch_exceptions=False)


def test_answers_are_predictions_and_no_labels(url: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("a-token-for-uploads\n")

    def run(*arguments: str) -> tuple[int, str]:
        token = ("--url", url, "--token-file", str(tmp_path / "token"))
        done = CliRunner().invoke(app, [*arguments, *token])
        return done.exit_code, f"{done.output}{done.exception or ''}"

    file = tmp_path / "answers.ndjson"
    with file.open("w") as stream:
        for number in range(100):
            answer = {"predicted": ("no", "yes")[number % 2], "confidence": 0.9, "refer": False}
            print(json.dumps({"request_id": f"eye-{number}"} | answer), file=stream)
    code, said = run("predictions", str(file), "--model", "retina", "--classes", "no,yes")
    assert (code, "accepted: 100" in said) == (0, True), said
    ledger = f"sqlite:///{tmp_path / 'ledger.db'}"
    report = CliRunner().invoke(app, ["report", "retina", "--ledger", ledger, "--json"]).stdout
    coverage = json.loads(report)["coverage"]
    assert (coverage["served"], coverage["labeled"]) == (100, 0)
    assert run("feedback", str(file), "--model", "retina")[0] != 0


def test_columns_of_classes_are_sent_as_probabilities(url: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("a-token-for-uploads\n")
    (tmp_path / "answers.csv").write_text(
        "request_id,p_no,p_yes,truth\n1,0.25,0.75,yes\n2,0.5,0.5,no\n3,0.9,0.2,no\n"
    )
    sent = [
        "predictions",
        str(tmp_path / "answers.csv"),
        "--model",
        "retina",
        "--classes",
        "no,yes",
        "--url",
        url,
    ]
    done = CliRunner().invoke(app, [*sent, "--token-file", str(tmp_path / "token")])
    assert "accepted: 2" in done.stdout
    assert "rejected: 1" in done.stdout
    assert "probabilities: from p_no, p_yes" in done.stderr
    assert "add up to 1" in (tmp_path / "answers.csv.rejected.csv").read_text()


def test_a_usage_error_shows_control_characters() -> None:
    for typed in (
        ["feed\x1b[31mback"],
        ["feedback", "--u\x1b]0;owned\x07"],
        ["predict", "a.png", "--url", "x\x1b[2J"],
    ):
        done = CliRunner().invoke(app, typed)
        assert done.exit_code == 2
        assert "\x1b[31m" not in done.output.replace("\x1b[31m\u256d", "")
        assert "\\x1b" in done.output
        assert "\x07" not in done.output
