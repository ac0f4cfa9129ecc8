import math

import pytest

from calibration.measures.many_models import beyond_chance
from console.index import ModelChoice, read_choice
from monitoring.errors import QueryInvalid


def test_what_one_model_shows_is_chance_among_fifty() -> None:
    strong, weak = math.log(1_500), math.log(30)
    assert beyond_chance([weak]) == [True]
    assert beyond_chance([weak] + [-math.inf] * 49) == [False] * 50
    assert beyond_chance([strong, weak] + [-math.inf] * 48) == [True] + [False] * 49
    assert beyond_chance([math.log(100)] * 10 + [-math.inf] * 40) == [True] * 10 + [False] * 40
    assert beyond_chance([]) == []


def test_a_choice_is_read_from_an_address_and_written_to_one() -> None:
    choice = read_choice({"q": "a b", "state": "look", "sort": "gap"})
    assert choice == ModelChoice("a b", "look", "gap")
    assert choice.address(state="") == "/?q=a+b&sort=gap"
    assert ModelChoice().address() == "/"
    for wrong in ({"state": "red"}, {"sort": "size"}, {"sort": ""}):
        with pytest.raises(QueryInvalid):
            read_choice(wrong)
