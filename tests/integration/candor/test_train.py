"""`candor train` and `candor export`: every choice has an option; wrong usage is an error."""

import inspect
import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from candor import command_line
from candor.commands import training as commands
from candor.commands.training import train
from tests.builders import trees
from tests.builders.processes import candor_here
from tests.integration.candor.test_printed import strays
from training.choices import TrainOptions
from training.load_options import options_of
from training.runs.config import TrainConfig

pytestmark = pytest.mark.usefixtures("undrawn")
invoke = partial(candor_here, env={"COLUMNS": "200"})

CHOICES: dict[str, tuple[list[str], object]] = {
    "loss": (["--loss", "focal"], "focal"),
    "beta": (["--beta", "7"], 7.0),
    "class_weights": (["--class-weights", "balanced"], "balanced"),
    "epochs": (["--epochs", "3"], 3),
    "batch_size": (["--batch-size", "16"], 16),
    "learning_rate": (["--learning-rate", "0.01"], 0.01),
    "seed": (["--seed", "9"], 9),
    "backbone": (["--backbone", "resnet18", "--weights", "none"], "resnet18"),
    "weights": (["--weights", "some.safetensors"], Path("some.safetensors")),
    "frozen": (["--whole"], False),
    "gentle": (["--gentle"], True),
    "augment": (["--augment", "light+hflip"], "light+hflip"),
    "image_size": (["--image-size", "64"], 64),
    "micro_batch": (["--micro-batch", "8"], 8),
    "device": (["--device", "cpu"], "cpu"),
}
READING = (
    "layout group group_pattern allow_leakage max_corrupt window first_frame findings exclusive "
    "uncertain"
)
OUTPUT = "out restart json_out"
NO_CHOICES = {*f"context data config recipe help_rare {READING} {OUTPUT}".split()}


def test_help_is_short_and_every_option_of_a_choice_is_tried() -> None:
    declared = typer.main.get_command(command_line.app).commands["train"].params
    shown = [each for each in declared if not getattr(each, "hidden", False)]
    assert len(shown) <= 23  # of them seven for data
    assert len(declared) - len(shown) <= 9
    assert set(inspect.signature(train).parameters) - NO_CHOICES == set(CHOICES)
    assert set(CHOICES) < set(TrainConfig.model_fields)
    for name, (kind, option) in options_of(TrainOptions).items():
        if name in CHOICES:
            field = TrainConfig.model_fields[name]
            assert (field.annotation, field.default) == (kind, option.fixed), name


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> Callable[..., TrainConfig]:
    """The configuration that `candor train digits` with arguments comes to."""
    configs: list[TrainConfig] = []

    def stop(config: TrainConfig, *_: object, **__: object) -> None:
        configs.append(config)
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "_train", stop)

    def configured(*arguments: object) -> TrainConfig:
        candor_here("train", "digits", *arguments)
        return configs.pop()

    return configured


def test_an_option_sets_its_choice(configured: Callable[..., TrainConfig]) -> None:
    for name, (arguments, expected) in CHOICES.items():
        assert getattr(configured(*arguments), name) == expected, name
        assert getattr(TrainConfig(), name) != expected


def test_a_file_sets_every_choice_and_options_override_it(
    configured: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    written = TrainConfig(
        loss="focal", loss_options={"gamma": 2.0}, heads=3, weights="none", epochs=4
    )
    for name, content in {
        "config.json": f'{{"config": {written.model_dump_json()}, "classes": []}}',  # of a run
        "plain.json": written.model_dump_json(),
    }.items():
        (tmp_path / name).write_text(content)
        assert configured("--config", tmp_path / name) == written
    (tmp_path / "few.toml").write_text('heads = 3\nweights = "some.pth"\n')
    found = configured("--config", tmp_path / "few.toml", "--epochs", 5)
    assert (found.heads, found.weights, found.epochs) == (3, Path("some.pth"), 5)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('decay = "linear"', "decay"),
        ('select = "best"', "select"),
        ("warmup = 80.0", "warmup"),
        ("head = 3", "head"),
        ("hedas = 3", "hedas"),
        ("heads = ", "give a .toml or .json file"),
        (None, "cannot be read"),
    ],
)
def test_a_file_that_is_wrong_is_an_error(tmp_path: Path, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / "own.toml").write_text(content)
    (tmp_path / "list.json").write_text("[3]")
    arguments = ["train", "digits", "--config"]
    result = candor_here(*arguments, tmp_path / "own.toml", env={"COLUMNS": "300"})
    assert result.exit_code == 2
    assert said in result.output
    assert candor_here(*arguments, tmp_path / "list.json").exit_code == 2


@pytest.fixture
def ill_and_healthy(tmp_path: Path) -> Path:
    """Nine dark images and 36 bright ones, in classes with names with brackets and a colon."""
    generator = np.random.default_rng(0)
    for name, level, count in (("[red]ill", 60, 9), ("healthy:all", 180, 36)):
        for number in range(count):
            pixels = (
                (level + generator.normal(scale=20, size=(24, 24))).clip(0, 255).astype(np.uint8)
            )
            trees.write(tmp_path / "data" / name / f"{number}.png", pixels)
    return tmp_path / "data"


def test_train_shows_what_happens_to_each_class(ill_and_healthy: Path, tmp_path: Path) -> None:
    network = ["--backbone", "small_conv", "--weights", "none", "--image-size", 32, "--loss", "ce"]
    schedule = ["--epochs", 60, "--batch-size", 16, "--learning-rate", 1e-3]
    trained = invoke("train", ill_and_healthy, "--out", tmp_path / "run", *network, *schedule)
    assert trained.exit_code == 0, trained.stderr
    table = trained.stdout[trained.stdout.index("Answers on test by true class") :]
    header, ill, healthy, _, compared = [line.split() for line in table.splitlines()[1:6]]
    assert header == ["images", "recall", "95", "%", "interval", "[red]ill", "healthy:all"]
    assert " ".join(ill) == "[red]ill 2 - 34.2 to 100.0 % 2 0"
    assert " ".join(healthy) == "healthy:all 7 100.0 % 64.6 to 100.0 % 0 7"
    assert "always answering 'healthy:all' would be right on 77.8 %" in " ".join(compared)
    assert "WARNING" not in trained.stdout
    assert len(trained.stdout.splitlines()) <= 25  # what a person reads; the rest on request
    rows = [
        line.split()[:2]
        for line in trained.stdout.splitlines()
        if line.startswith(("val,", "test,"))
    ]
    assert rows == [
        [split, method] for split in ("val,", "test,") for method in ("none", "temperature")
    ]
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["answers"]["test"]["confusion"] == [[2, 0], [0, 7]]
    assert metrics["answers"]["test"]["constant_accuracy"] == pytest.approx(7 / 9)
    assert strays(trained.stdout, metrics) == set()
    store = tmp_path / "store"
    exported = invoke("export", tmp_path / "run", "--name", "own", "--anyway", "--store", store)
    assert exported.exit_code == 0, exported.stderr
    card = json.loads((store / "own" / "1" / "card.json").read_text())
    assert strays(exported.stdout, card) == set()
    assert exported.stdout.count(" %") > 2


def test_off_a_terminal_there_is_a_line_an_epoch(
    ill_and_healthy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run folder is named by data, loss and seed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("training.fitting.fit.REPORT_INTERVAL_S", -1.0)  # as in a long epoch
    network = ["--backbone", "small_conv", "--weights", "none", "--image-size", 32, "--loss", "ce"]
    # several steps an epoch
    done = invoke("train", ill_and_healthy, *network, "--seed", 3, "--epochs", 4, "--batch-size", 8)
    assert done.exit_code == 0, done.stderr
    epochs = re.findall(r"^train ce: (\d) of 4, .*loss \d", done.stderr, re.MULTILINE)
    assert epochs == ["1", "2", "3", "4"]
    assert "Run folder: runs/data-ce-seed-3" in done.stdout


def test_the_recipe_chooses_and_options_override_it(ill_and_healthy: Path, tmp_path: Path) -> None:
    network = ["--backbone", "small_conv", "--weights", "none", "--image-size", 32]

    def trained(*options: object) -> tuple[str, dict[str, Any]]:
        folder = tmp_path / str(options[-1])
        done = invoke("train", ill_and_healthy, "--out", folder, *network, *options)
        assert done.exit_code == 0, done.stderr
        assert done.output.replace("\n", "").isprintable()  # no bar is drawn: this is no terminal
        return done.stderr, json.loads((folder / "config.json").read_text())

    said, written = trained("--batch-size", 16)
    assert "Recipe: 200 epochs" in said
    assert (written["config"]["epochs"], written["config"]["select"]) == (200, "val_nll")
    assert len(written["recipe"]["reasons"]) == 2
    last = tmp_path / "last.toml"
    last.write_text('select = "last"')
    for options, epochs in ((("--config", last, "--epochs", 3), 3), (("--recipe", "fixed"), 12)):
        said, written = trained(*options)
        assert "Recipe" not in said
        assert (written["config"]["epochs"], written["config"]["select"]) == (epochs, "last")
    assert written["recipe"] is None
