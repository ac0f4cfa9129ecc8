"""Names of losses: which can be combined, their options, and their documentation."""

import doctest
import re
from pathlib import Path

import pytest
import torch

from training.errors import BadLoss, UnknownName
from training.losses import (
    LOSSES,
    ConfidenceGap,
    CrossEntropy,
    LossSettings,
    build_objective,
    loss_table,
    loss_title,
)
from training.losses.composition import compose
from training.losses.dca import HuberGap
from training.losses.focal import Focal
from training.losses.label_smoothing import SmoothCrossEntropy
from training.losses.mdca import ClasswiseGap

PAGE = (Path(__file__).parents[4] / "docs" / "training.md").read_text()


def kinds(name: str, **options: float) -> list[type]:
    return [type(term) for term in build_objective(name, LossSettings(options=options)).terms]


def test_an_auxiliary_term_comes_with_cross_entropy_unless_another_main_term_is_named() -> None:
    assert kinds("dca") == kinds("ce+dca") == kinds("dca + ce") == [CrossEntropy, ConfidenceGap]
    assert kinds("mdca+label_smoothing") == [SmoothCrossEntropy, ClasswiseGap]
    assert kinds("focal+mdca+dca") == [Focal, ClasswiseGap, ConfidenceGap]


def test_mixup_is_a_way_of_mixing_and_no_term() -> None:
    objective = build_objective("dca+mixup", LossSettings(options={"alpha": 0.7}))
    assert objective.mixing is not None
    assert objective.mixing.alpha == 0.7
    assert len(objective.terms) == 2
    assert build_objective("dca", LossSettings()).mixing is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("focal+label_smoothing+dca", r"has 2 main terms \(focal, label-smoothing\); keep one"),
        ("ce+focal", r"2 main terms"),
        ("dca+dca", r"names a part twice"),
    ],
)
def test_losses_that_cannot_be_combined_are_refused(name: str, message: str) -> None:
    with pytest.raises(BadLoss, match=message):
        build_objective(name, LossSettings())


@pytest.mark.parametrize("name", ["mse", "dca+mse", "", "dca+"])
def test_an_unknown_part_names_the_known_ones(name: str) -> None:
    with pytest.raises(
        UnknownName, match=r"unknown loss '(mse)?'; choose one of: ce, dca, .*mixup"
    ):
        build_objective(name, LossSettings())


class TestOptions:
    def test_beta_has_a_default(self) -> None:
        strengths = {
            "dca": 2,
            "dca-squared": 150,
            "mdca": 10,
            "mmce": 4,
            "entropy": 0.1,
            "mbls": 0.1,
            "soft-ece": 1,
        }
        for name, strength in strengths.items():
            assert build_objective(name, LossSettings()).terms[1].beta == strength  # type: ignore[attr-defined]
            assert build_objective(name, LossSettings(beta=3.0)).terms[1].beta == 3  # type: ignore[attr-defined]

    def test_the_gap_is_taken_on_held_out_images_unless_it_is_the_papers(self) -> None:
        assert build_objective("dca", LossSettings()).held_out == 0.2
        assert build_objective("dca+mdca", LossSettings(beta=None)).held_out == 0.2
        assert build_objective("dca", LossSettings(options={"held_out": 0})).held_out == 0
        assert build_objective("dca", LossSettings()).start == 0.4
        assert build_objective("mdca", LossSettings()).start == 0
        assert (
            build_objective("dca+mdca", LossSettings(options={"dca.held_out": 0.1})).held_out == 0.1
        )
        for name in (each for each in LOSSES if not each.startswith("dca")):
            assert build_objective(name, LossSettings()).held_out == 0
        with pytest.raises(BadLoss, match=r"held_out .* is 1\.0; expected 0 to 0\.9"):
            build_objective("dca", LossSettings(options={"held_out": 1.0}))

    def test_beta_is_ignored_by_a_loss_without_one(self) -> None:
        assert len(build_objective("ce", LossSettings(beta=3.0)).terms) == 1

    def test_an_option_goes_to_the_part_that_has_it(self) -> None:
        objective = build_objective(
            "focal+dca-huber", LossSettings(beta=2.0, options={"gamma": 1.5, "delta": 0.2})
        )
        main, gap = objective.terms
        assert isinstance(main, Focal)
        assert isinstance(gap, HuberGap)
        assert (main.gamma, gap.beta, gap.delta) == (1.5, 2.0, 0.2)

    def test_an_option_of_two_parts_needs_the_part(self) -> None:
        with pytest.raises(BadLoss, match=r"'beta' belongs to dca and mdca; write dca.beta"):
            build_objective("dca+mdca", LossSettings(beta=3.0))
        objective = build_objective(
            "dca+mdca", LossSettings(options={"dca.beta": 3.0, "mdca.beta": 4.0})
        )
        assert [term.beta for term in objective.terms[1:]] == [3, 4]  # type: ignore[attr-defined]

    @pytest.mark.parametrize(
        ("name", "key", "value", "message"),
        [
            ("dca", "gamma", 1.0, r"unknown option 'gamma' of loss ce\+dca; known: dca.beta"),
            ("ce", "beta", 1.0, r"unknown option 'beta' of loss ce; known: none"),
            ("focal+dca", "dca.gamma", 1.0, r"unknown option 'dca.gamma'"),
            ("dca", "beta", -1.0, r"option beta of loss dca is -1.0; expected 0 to inf"),
            ("dca", "beta", float("nan"), r"is nan"),
            ("label-smoothing", "smoothing", 1.5, r"expected 0 to 1"),
        ],
    )
    def test_an_invalid_option_is_refused(
        self, name: str, key: str, value: float, message: str
    ) -> None:
        with pytest.raises(BadLoss, match=message):
            build_objective(name, LossSettings(options={key: value}))


def test_titles() -> None:
    assert loss_title("ce") == "cross-entropy"
    assert loss_title("dca+mixup") == "DCA + mixup"
    assert loss_title("mixup+focal") == "focal + mixup"


def test_every_loss_is_documented_with_source_and_defaults() -> None:
    rows = {
        cells[0]: cells
        for cells in re.findall(r"\| `([\w-]+)` \| (.*?) \| (.*?) \| (.*?) \| .* \|", PAGE)
    }
    for name, title, source, defaults in loss_table():
        assert rows[name][1] == f"{title}: {LOSSES[name].formula}", name
        assert rows[name][2] == source, name
        assert rows[name][3].strip("`") == (defaults or "—"), name


def test_the_loss_that_the_page_adds_works() -> None:
    """The example of the page runs: its doctest, its recipe, and the law that shards add up."""
    (source,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    namespace: dict[str, object] = {"__name__": "brier"}
    exec(source, namespace)
    runner = doctest.DocTestRunner()
    for example in doctest.DocTestFinder().find(namespace["Brier"], "Brier", globs=dict(namespace)):
        runner.run(example)
    assert runner.summarize(verbose=False) == (0, 3)
    objective = compose(
        "brier+mixup", LossSettings(options={"beta": 2.0}), LOSSES | {"brier": namespace["RECIPE"]}
    )  # type: ignore[dict-item]
    logits, labels = torch.randn(7, 3, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 1, 2, 0])
    parts = list(zip(logits.split(3), labels.split(3), strict=True))
    known = objective.merge([objective.statistics(*part) for part in parts])
    shares = torch.stack([objective.share(*part, known) for part in parts])
    torch.testing.assert_close(shares.sum(), objective(logits, labels))
