"""What a client's token file holds is never repeated, whatever it holds."""

from pathlib import Path

import pytest

from candor import command_line

SECRET = "6706f5fe0c1d6706f5fe0c1d"
FILES = {
    "the server's own file": f"{SECRET} read,predict reader\n2f4d4d06{SECRET} admin eve\n",
    "scopes": f"{SECRET} read\n",
    "two lines": f"{SECRET}\n{SECRET}x\n",
    "not ASCII": f"{SECRET}é\n",
    "control characters": f"{SECRET}\x07\n",
    "not UTF-8": SECRET.encode("utf-16"),
}


@pytest.mark.parametrize(
    "verb", [["predict", "scan.png"], ["feedback", "labels.csv"], ["predictions", "labels.csv"]]
)
def test_a_file_that_is_no_token_is_refused_without_repeating_it(
    verb: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scan.png").write_bytes(b"x")
    (tmp_path / "labels.csv").write_text("prediction_id,label,predicted,confidence\na,b,b,0.9\n")
    arguments = [*verb, "--url", "http://127.0.0.1:9", "--token-file", "tokens"]
    monkeypatch.setattr("sys.argv", ["candor", *arguments])
    for content in FILES.values():
        (tmp_path / "tokens").write_bytes(content.encode() if isinstance(content, str) else content)
        with pytest.raises(SystemExit) as ended:
            command_line.main()
        said = "".join(capfd.readouterr())
        assert ended.value.code == 1, said
        assert "a token is one word" in said
        assert SECRET[:8] not in said


def test_the_password_in_an_address_is_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scan.png").write_bytes(b"x")
    monkeypatch.setattr(
        "sys.argv", ["candor", "predict", "scan.png", "--url", f"http://eve:{SECRET}@127.0.0.1:9"]
    )
    with pytest.raises(SystemExit):
        command_line.main()
    said = "".join(capfd.readouterr())
    assert "no answer from http://127.0.0.1:9" in said
    assert SECRET not in said
