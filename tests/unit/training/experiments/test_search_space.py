"""The space of a search: one budget for all methods, the same shared draws, every value as often as
the others.
"""

import pytest

from training.errors import BadChoice
from training.experiments.search_space import (
    METHODS,
    SHARED,
    axis,
    parse_axis,
    recipes,
    searched_method,
)
from training.experiments.variant import parse_variant


def test_every_method_gets_the_same_shared_choices() -> None:
    drawn = [
        recipes(8, shared=SHARED, own=searched_method(parse_variant(text)).own) for text in METHODS
    ]
    shared = [[{name: each.changes[name] for name in SHARED} for each in found] for found in drawn]
    assert all(found == shared[0] for found in shared)
    assert {len(found) for found in drawn} == {8}


def test_the_first_recipe_has_the_first_value_of_every_axis() -> None:
    own = searched_method(parse_variant("focal gamma=2,0.5,1,3")).own
    first, *_ = recipes(8, shared=SHARED, own=own)
    assert first.changes == {name: values[0] for name, values in {**SHARED, **own}.items()}


@pytest.mark.parametrize("count", [8, 12, 24])
def test_every_value_is_tried_about_equally_often(count: int) -> None:
    own = {"beta": (2, 1, 5, 10)}
    found = recipes(count, shared=SHARED, own=own)
    for name, values in {**SHARED, **own}.items():
        times = [sum(each.changes[name] == value for each in found) for value in values]
        assert max(times) - min(times) <= 1


def test_own_axes_of_the_default_methods_have_four_values() -> None:
    """So no method but cross-entropy, which has nothing of its own, has a smaller space."""
    sizes = {text: searched_method(parse_variant(text)).size for text in METHODS}
    assert set(sizes.values()) == {1, 4}
    assert [text for text, size in sizes.items() if size == 1] == ["ce"]


def test_a_recipe_becomes_choices_of_training() -> None:
    method = searched_method(parse_variant("dca held_out=0 beta=5,10"))
    recipe = recipes(2, shared={"shown": (6400,)}, own=method.own)[1]
    variant = recipe.variant(method, image_count=1000)
    assert variant.changes == {"beta": 10, "epochs": 6, "held_out": 0}
    assert variant.subject == "dca"


@pytest.mark.parametrize("text", ["1,1", "1,,2"])
def test_an_axis_with_equal_or_empty_values_is_refused(text: str) -> None:
    with pytest.raises(BadChoice, match="different values"):
        axis(text)


def test_an_unknown_axis_is_refused() -> None:
    with pytest.raises(BadChoice, match="learning_rat="):
        parse_axis("learning_rat=1,2")
