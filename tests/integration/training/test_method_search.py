"""`candor experiment search` from outside: equal budgets, a choice by validation alone, fresh
seeds, resumed.
"""

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from candor import command_line
from training.experiments import trial
from training.networks.backbones import SMALL

SMALL_SEARCH = [
    "experiment", "search", "--data", "digits", "--network", f"{SMALL} epochs=1", "--jobs", "1", "--markdown",
    "--axis", "learning_rate=0.003,0.001", "--axis", "class_weights=natural,balanced",
    "--trials", "3", "--few", "1", "--finalists", "2", "--seeds", "2", "--first-seed", "5", "--test-seeds", "2",
    "--method", "ce", "--method", "dca beta=2,5",
]  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def run(home: Path, *more: str) -> Any:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Path, "home", lambda: home)
        return CliRunner().invoke(
            command_line.app, [*SMALL_SEARCH, "--out", str(home / "out"), *more]
        )


@pytest.fixture(scope="module")
def shown(home: Path) -> str:
    found = run(home)
    assert found.exit_code == 0, found.output
    return str(found.stdout)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as stream:
        return list(csv.DictReader(stream))


def test_every_method_has_the_same_budget_and_one_choice(shown: str, home: Path) -> None:
    found = rows(home / "out" / "trials-val.csv")
    assert Counter(row["method"] for row in found) == {"ce": 3, "dca": 3}
    assert Counter(row["method"] for row in found if row["final_seeds"] == "2") == {
        "ce": 2,
        "dca": 2,
    }
    assert Counter(row["method"] for row in found if row["chosen"] == "True") == {"ce": 1, "dca": 1}
    assert "3 recipes with 1 seed, the best 2 of them with 2: 5 fits" in shown


def test_the_choice_is_the_best_finalist_on_validation(shown: str, home: Path) -> None:
    """By the rule as the documentation states it, from the table of trials."""
    for method in ("ce", "dca"):
        finalists = [
            row
            for row in rows(home / "out" / "trials-val.csv")
            if row["method"] == method and row["final_ece"]
        ]
        within = [row for row in finalists if row["final_admissible"] == "True"]
        figures = ("final_ece", "final_nll") if within else ("final_nll", "final_ece")
        best = min(
            within or finalists,
            key=lambda row: (round(float(row[figures[0]]), 3), float(row[figures[1]])),
        )
        assert best["chosen"] == "True"


def test_the_table_has_space_seeds_and_recipes(shown: str, home: Path) -> None:
    assert "Seeds of the search: 5 to 6; of the test: 7 to 8." in shown
    assert (
        "Space of every method: learning_rate 0.003/0.001; class_weights natural/balanced. "
        "Further for dca: beta 2/5." in shown
    )
    (table,) = (home / "out" / "tables").glob("search-val-*.csv")
    recipes = {row["method"]: row["recipe"] for row in rows(table)}
    chosen = {
        row["method"]: row["recipe"]
        for row in rows(home / "out" / "trials-val.csv")
        if row["chosen"] == "True"
    }
    assert recipes == chosen


def test_validation_also_chooses_among_the_tuned_methods_and_their_calibrators(
    shown: str, home: Path
) -> None:
    (table,) = (home / "out" / "tables").glob("select-val-*.csv")
    (chosen,) = (row["candidate"] for row in rows(table) if row["candidate"].endswith(" *"))
    method, _, calibrator = chosen.removesuffix(" *").partition(", ")
    assert f"{method} with {calibrator}, chosen on validation in" in shown


def test_the_differences_are_paired_over_the_fresh_seeds(shown: str, home: Path) -> None:
    (table,) = (home / "out" / "tables").glob("paired-*.csv")
    assert {row["seeds"] for row in rows(table)} == {"2"}
    assert {row["seed"] for row in rows(home / "out" / "cells.csv")} == {"7", "8"}
    assert rows(home / "out" / "tables" / "cut.csv")[0]["cut %"] == "0.0 ± 0.0"


def test_trials_hold_nothing_of_test(shown: str, home: Path) -> None:
    assert {path.name for path in (home / "out" / "trials").glob("*/*")} == {"trial.json"}
    assert (
        "test"
        not in next((home / "out" / "trials").glob("*/trial.json")).read_text().split('"config"')[0]
    )


def test_the_lowest_nll_chooses_if_it_is_asked_to(shown: str, home: Path) -> None:
    found = run(home, "--by", "nll")
    assert "Chosen is the lowest NLL." in found.stdout
    for method in ("ce", "dca"):
        own = [
            row
            for row in rows(home / "out" / "trials-val.csv")
            if row["method"] == method and row["final_nll"]
        ]
        (chosen,) = (row for row in own if row["chosen"] == "True")
        assert float(chosen["final_nll"]) == min(float(row["final_nll"]) for row in own)
    assert run(home, "--by", "accuracy").exit_code == 2


def test_a_second_call_trains_nothing(
    shown: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "_figures", lambda *_, **__: pytest.fail("computed again"))
    assert run(home).stdout == shown


def test_what_a_search_cannot_do_is_refused(home: Path) -> None:
    assert run(home, "--few", "3").exit_code == 2
    assert run(home, "--judge", "test").exit_code == 2
    found = CliRunner().invoke(
        command_line.app,
        ["experiment", "search", "--data", "digits", "--method", "dca", "--out", str(home / "no")],
    )
    assert "give --method ce too" in str(found.exception or found.output)
