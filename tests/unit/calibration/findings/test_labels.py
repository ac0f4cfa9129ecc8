"""Labels of findings: a blank is missing, a list needs what was looked for."""

import numpy as np
import pytest

from calibration.findings.labels import from_columns, from_lists


def test_a_blank_is_missing_and_uncertain_is_kept_until_told() -> None:
    found = from_columns({"Edema": ["1.0", "", "-1.0", "0"], "Mass": ["0.0", "1", "nan", ""]})
    np.testing.assert_array_equal(found.labels[:, 0], [1, np.nan, -1, 0])
    np.testing.assert_array_equal(found.known_as("missing")[:, 0], [1, np.nan, np.nan, 0])
    assert found.known_as("present")[2, 0] == 1
    assert found.known_as("absent")[2, 0] == 0
    assert not found.exclusive


def test_one_hot_classes_are_recognized() -> None:
    assert from_columns({"cat": ["1", "0"], "dog": ["0", "1"]}).exclusive
    assert not from_columns({"cat": ["1", "0"], "dog": ["0", "0"]}).exclusive
    assert not from_columns({"cat": ["1", "1"]}).exclusive


def test_a_list_says_nothing_of_what_was_not_looked_for() -> None:
    found = from_lists(["Edema", "No Finding"], ["Edema|Mass", "Mass"], ["Mass", "Edema"])
    np.testing.assert_array_equal(found.labels, [[0, 1], [0, np.nan]])
    found = from_lists(["Edema", "", ""], ["Edema|Mass", "Mass", ""])  # looked for, not found
    np.testing.assert_array_equal(found.labels, [[1, 0], [np.nan, 0], [np.nan, np.nan]])
    nfc, nfd = "Ed\u00e8me", "Ede\u0300me"
    for names in ([nfc], [nfd]):
        found = from_lists([f"{nfd}|Mass", "No Finding"], "*", names)
        assert found.names == tuple(names)
        np.testing.assert_array_equal(found.labels, [[1], [0]])
    with pytest.raises(ValueError, match="Nodule"):
        from_lists(["Edema|Nodule"], "Edema|Mass")
    with pytest.raises(ValueError, match="'2'"):
        from_columns({"grade": ["1", "2"]})
