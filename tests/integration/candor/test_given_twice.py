"""What a file, a cell or a setting of a user gives twice is refused by name; nothing that is nested
too deeply ends in a traceback.
"""

from pathlib import Path

import pytest

from calibration.calibrators.affine import Affine
from calibration.calibrators.portable import PortableCalibrator
from candor.commands.verb import reason
from tests.builders.bundles import foreign_onnx, labeled_folder
from tests.builders.processes import candor_here

SOUND = PortableCalibrator(Affine.of_temperature(2.0, 2), ("a", "b")).as_json()
APPLY = "calibrate rows.csv --apply given.json --to out.csv"
IMPORT = "import model.onnx --classes given.json --pixels unit --data labeled --name theirs"
MODEL = "import model --pixels unit --data labeled --name theirs"
METHOD = "experiment compare --preset smoke --out out --method"


@pytest.mark.parametrize(
    ("command", "file", "text", "named"),
    [
        ("train digits --config given.json", "given.json", '{"heads": 3, "heads": 5}', "heads"),
        (
            "train digits --config given.json",
            "given.json",
            '{"config": {"loss_options": {"gamma": 1, "gamma": 2}}}',
            "gamma",
        ),
        ("calibrate given.ndjson", "given.ndjson", '{"p_a": 1, "p_b": 0, "p_a": 0}\n', "p_a"),
        (
            "calibrate given.csv",
            "given.csv",
            'probabilities,label\n"{""a"": 0.9, ""b"": 0.1, ""a"": 0.2}",a\n',
            "a",
        ),
        (APPLY, "given.json", SOUND.replace('"weight"', '"weight": [9, 9], "weight"'), "weight"),
        (IMPORT, "given.json", '{"0": "x", "1": "a", "2": "c", "0": "b"}', "0"),
        (IMPORT, "given.json", "{0: 'x', 1: 'a', 2: 'c', 0: 'b'}", "0"),
        (MODEL, "model/config.json", '{"id2label": {"0": "a", "0": "b"}}', "0"),
        ([*METHOD.split(), "dca beta=3 beta=5"], "none", "", "beta=3 beta=5"),
    ],
)
def test_a_key_given_twice(
    here: Path, command: str | list[str], file: str, text: str, named: str
) -> None:
    (here / file).write_text(text)
    said = _refused(*(command.split() if isinstance(command, str) else command))
    assert named in said
    assert "twice" in said


@pytest.mark.parametrize(
    ("command", "file"),
    [
        ("train digits --config given.json", "given.json"),
        ("calibrate given.ndjson", "given.ndjson"),
        ("calibrate given.csv", "given.csv"),
        (APPLY, "given.json"),
        (IMPORT, "given.json"),
        (MODEL, "model/config.json"),
    ],
)
def test_nested_too_deeply(here: Path, command: str, file: str) -> None:
    deep = "[" * 50_000
    (here / file).write_text(f"probabilities,label\n{deep},a\n" if file == "given.csv" else deep)
    _refused(*command.split())


@pytest.mark.parametrize("text", ['{"site": 0.05, "site": 0.9}', '{"site": ' + "[" * 50_000])
def test_a_setting(here: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("CANDOR_DRIFT_TAG_TOLERANCES", text)
    assert "CANDOR_DRIFT_TAG_TOLERANCES" in _refused("config", "show")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the other files of the commands, in which they are typed."""
    (tmp_path / "rows.csv").write_text("p_a,p_b\n0.9,0.1\n")
    (tmp_path / "model").mkdir()
    foreign_onnx(tmp_path / "model.onnx")
    foreign_onnx(tmp_path / "model/model.onnx")
    labeled_folder(tmp_path / "labeled", ("a", "b", "c"), images=20)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _refused(*words: str) -> str:
    """What the command says."""
    done = candor_here(*words)
    if isinstance(done.exception, SystemExit):
        assert done.exit_code == 2
        return done.stderr
    assert isinstance(done.exception, Exception), "it was accepted"
    said = reason(done.exception)
    assert said is not None, "a traceback"
    return said
