"""`candor train` and `candor export` as a command line: every choice has an option, and wrong usage is an error."""

import inspect
from pathlib import Path

import pytest
from typer.testing import CliRunner

from candor import command_line
from candor.commands import training as commands
from candor.commands.training import train
from training.losses import LOSSES
from training.runs.config import TrainConfig

CHOICES: dict[str, tuple[list[str], object]] = {
    "loss": (["--loss", "focal"], "focal"),
    "beta": (["--beta", "7"], 7.0),
    "loss_options": (["--loss", "focal", "--option", "gamma=2"], {"gamma": 2.0}),
    "class_weights": (["--class-weights", "balanced"], "balanced"),
    "epochs": (["--epochs", "3"], 3),
    "batch_size": (["--batch-size", "16"], 16),
    "learning_rate": (["--learning-rate", "0.01"], 0.01),
    "weight_decay": (["--weight-decay", "0.1"], 0.1),
    "decay": (["--decay", "exponential"], "exponential"),
    "decay_rate": (["--decay-rate", "0.5"], 0.5),
    "averaging": (["--averaging", "ema"], "ema"),
    "ema_decay": (["--ema-decay", "0.9"], 0.9),
    "select": (["--select", "val_nll"], "val_nll"),
    "patience": (["--select", "val_nll", "--patience", "2"], 2),
    "seed": (["--seed", "9"], 9),
    "backbone": (["--backbone", "resnet18", "--weights", "none"], "resnet18"),
    "weights": (["--weights", "some.safetensors"], Path("some.safetensors")),
    "frozen": (["--whole"], False),
    "trainable": (["--trainable", "0.3"], 0.3),
    "heads": (["--heads", "3"], 3),
    "views": (["--views", "2"], 2),
    "perturbed": (["--perturbed"], True),
    "head_reduction": (["--head-reduction", "4"], 4),
    "image_size": (["--image-size", "64"], 64),
    "resize": (["--resize", "crop"], "crop"),
    "micro_batch": (["--micro-batch", "8"], 8),
    "amp": (["--amp"], True),
    "device": (["--device", "cpu"], "cpu"),
}
NO_CHOICES = {
    "data",
    "layout",
    "group_pattern",
    "allow_leakage",
    "max_corrupt",
    "window",
    "first_frame",
    "out",
    "restart",
}
NO_CHOICES |= {"tensorboard", "list_losses", "nproc", "nnodes", "node_rank", "master", "json_out"}


def test_choices_and_options_are_the_same() -> None:
    assert set(CHOICES) == set(TrainConfig.model_fields)
    options = set(inspect.signature(train).parameters)
    assert options - NO_CHOICES == set(TrainConfig.model_fields) - {"loss_options"} | {"options"}


@pytest.mark.parametrize("name", CHOICES)
def test_an_option_sets_its_choice(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    configs: list[TrainConfig] = []

    def stop(config: TrainConfig, *_: object, **__: object) -> None:
        configs.append(config)
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "_train", stop)
    arguments, expected = CHOICES[name]
    CliRunner().invoke(command_line.app, ["train", "digits", *arguments])
    assert getattr(configs[0], name) == expected
    assert getattr(TrainConfig(), name) != expected or name in {"head_reduction"}  # digits have 2 there


def test_help_groups_the_options() -> None:
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
def test_wrong_usage_is_an_error(arguments: list[str], said: str) -> None:
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
def test_invalid_choices_fail_before_training(
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
