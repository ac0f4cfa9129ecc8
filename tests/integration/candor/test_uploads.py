"""`candor predictions` and `candor feedback` with files, against a real server process."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from candor.command_line import app
from tests.builders.waiting import PATIENCE_S


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A `candor monitor` with a token for everything."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CANDOR_")}
    settings = {"CANDOR_PORT": "0", "CANDOR_LEDGER": f"sqlite:///{tmp_path / 'ledger.db'}"}
    settings["CANDOR_TOKENS"] = "a-token-for-uploads admin"
    command = [sys.executable, "-m", "candor", "monitor"]
    with subprocess.Popen(command, env=kept | settings, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
        process.terminate()
        assert process.wait(timeout=PATIENCE_S) == 0


def test_predictions_and_labels_from_files(url: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("a-token-for-uploads\n")

    def run(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, [*arguments, "--url", url, "--token-file", str(tmp_path / "token")])
        return done.exit_code, done.output

    answers = {
        "request_id": [f"eye-{number}" for number in range(7)],
        "probabilities": [[0.2, 0.8]] * 6 + [[0.9, 0.8]],
        "remark": ["not sent"] * 7,
    }
    pq.write_table(pa.table(answers), tmp_path / "answers.parquet")
    sending = ("predictions", str(tmp_path / "answers.parquet"), "--model", "retina", "--classes", "no, yes")
    code, said = run(*sending)
    assert (code, "accepted: 6" in said, "rejected: 1" in said) == (1, True, True), said
    rejected = (tmp_path / "answers.parquet.rejected.csv").read_text()
    assert "add up to 1" in rejected
    assert "eye-6" in rejected
    code, said = run(*sending, "--json")
    summary = json.loads(said)
    assert summary["statuses"] == {"unchanged": 6, "rejected": 1}
    assert summary["rejected_file"].endswith(".rejected.csv")

    labels = [f"retina,eye-{number},yes" for number in range(6)] + ["retina,eye-1,cat"]
    (tmp_path / "labels.csv").write_text("\n".join(["model,request_id,label", *labels]))
    code, said = run("feedback", str(tmp_path / "labels.csv"))
    assert (code, "accepted: 6" in said) == (1, True), said
    assert "'cat' is not a class" in (tmp_path / "labels.csv.rejected.csv").read_text()
    assert not list(tmp_path.glob("*.progress"))
