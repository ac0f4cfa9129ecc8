"""`import candor` in a notebook: every name it offers is there, and no other."""

import pytest

import candor
from calibration.measures.summary import Measures
from model_store.store.store import Store


def test_every_name_can_be_used_and_is_listed() -> None:
    for name in candor.__all__:
        assert getattr(candor, name) is not None
        assert name in dir(candor)


def test_a_name_is_the_one_that_its_package_defines() -> None:
    assert candor.Store is Store
    assert candor.Measures is Measures


def test_a_wrong_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'candor' has no attribute 'tarin'"):
        candor.tarin  # noqa: B018


def test_training_without_its_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(candor._MODULE_OF, "train", "training.not_installed")
    monkeypatch.delitem(vars(candor), "train", raising=False)
    with pytest.raises(ImportError, match=r"candor\.train needs more packages .* -m pip install "):
        candor.train  # noqa: B018
