"""`candor train` and `candor export` as a command line: every choice has an option, and wrong usage is told."""

import inspect

import pytest
from typer.testing import CliRunner

from candor import command_line
from candor.commands.training import train
from training.losses import LOSSES
from training.runs.config import TrainConfig


def test_every_choice_of_a_run_has_an_option() -> None:
    options = set(inspect.signature(train).parameters)
    assert set(TrainConfig.model_fields) - options == {"loss_options"}  # which is --option
    help_text = CliRunner().invoke(command_line.app, ["train", "--help"], env={"COLUMNS": "200"}).output
    for panel in ("Method", "Schedule", "Network", "Machine", "Output"):
        assert f"─ {panel} ─" in help_text
    assert "(cosine)" in help_text  # brackets would be taken for markup


def test_every_loss_is_listed() -> None:
    lines = CliRunner().invoke(command_line.app, ["train", "--list-losses"]).output.splitlines()
    assert {line.split()[0] for line in lines[2:]} == set(LOSSES)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "digits", "--decay", "linear"], "decay"),
        (["train", "digits", "--patience", "3"], "select val_nll"),
        (["train", "digits", "--whole", "--heads", "2"], "frozen backbone"),
        (["train", "digits", "--loss", "focal", "--option", "gamma"], "--option gamma=3"),
        (["train", "digits", "--batch-size", "1"], "batch_size"),
        (["export", "runs/none", "--calibrator", "isotonic"], "vector, none"),
    ],
)
def test_wrong_usage_is_told(arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(command_line.app, arguments, env={"COLUMNS": "300"})
    assert result.exit_code == 2
    assert said in result.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--loss", "dcaa"], "unknown loss 'dcaa'"),
        (["--loss", "focal", "--option", "gama=3"], "unknown option 'gama'"),
        (["--device", "cuda"], "--device cpu"),
    ],
)
def test_what_cannot_be_trained_ends_before_any_work(
    arguments: list[str],
    said: str,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path_factory.mktemp("nothing")
    monkeypatch.setenv("HOME", str(folder / "home"))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("sys.argv", ["candor", "train", "digits", "--out", str(folder / "run"), *arguments])
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    assert ended.value.code == 1
    assert said in capsys.readouterr().err
    assert [path.name for path in folder.iterdir() if path.name != "home"] == []
