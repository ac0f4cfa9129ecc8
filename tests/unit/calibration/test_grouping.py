"""What tells patients apart is found by name, and asked about where values only look like it."""

import itertools

import pytest

from calibration.grouping import group_column, group_named, path_pattern, repeats

NAMED = (
    "group Patient PatientID patient_nr pat_id subjectHash mrn MRN pid medical-record-number "
    "case case_number study StudyInstanceUID accession AccessionNumber exam_id slide slide_name "
    "wsi anon_patient_id lesion_id series cluster participant donor animal_id"
)
OTHERS = (
    "path label split age sex site study_date patient_age n_patients image_id file "
    "series_length casemix grouping diagnosis"
)


def test_names_of_groups() -> None:
    for name in NAMED.split():
        assert group_column(["path", name, "label"]) == name


def test_other_names() -> None:
    for name in OTHERS.split():
        assert group_column([name]) is None


def test_the_coarsest_column_is_chosen() -> None:
    assert group_column(["slide", "accession", "case", "patient"]) == "patient"
    assert group_column(["mrn", "group"]) == "group"


def test_values_that_look_like_identifiers() -> None:
    for value, expected in [
        ("S{:03}", True),
        ("{:05}", True),
        ("{:02}", False),
        ("20240{}01", False),
        ("male", False),
    ]:
        values = [value.format(number % 9 + 1) for number in range(90)]
        assert repeats(values) is expected


def test_a_value_of_its_own_for_each_row_is_no_group() -> None:
    assert not repeats([f"S{number:04}" for number in range(90)])


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("P{:03}_{}.png", "P003"),
        ("person{}-bacteria-{}.jpeg", "person3"),
        ("TCGA-{:02}-x-{}.tif", "TCGA-03"),
        ("sub-{:02}_ses-{}_T1w.png", "sub-03"),
        ("t{1}_patient{0:05}.png", "patient00003"),
        ("{:03}{}.png", None),
        ("eyes/{:03}{}.png", None),
        ("patient{:05}/study1/view{}.png", "patient00003"),
        ("{:05}/study1/view{}.png", "00003"),
        ("images_001/{:08}_{:03}.png", "00000003"),
        ("cat/{}/{}.png", "3"),
        ("scan.png{}{}", None),
        ("IMG_20240{}01_1200{:02}.jpg", None),
        ("2019-01-{:02}/{}.png", None),
        ("site{}/scan{}.png", None),
    ],
)
def test_the_part_of_a_path_that_repeats(name: str, patient: str | None) -> None:
    places = itertools.product(range(1, 10), range(5))
    names = [name.format(patient, image) for patient, image in places]
    pattern = path_pattern(names)
    found = None if pattern is None else group_named(name.format(3, 4), pattern)
    assert found == patient


def test_two_sides_of_one_patient() -> None:
    names = [f"{patient:03}{side}.png" for patient in range(9) for side in "LR"]
    assert group_named("007L.png", path_pattern(names) or "") == "007"


def test_images_without_the_part_are_alone() -> None:
    names = [f"cat/patient{number // 3}/{number}.png" for number in range(30)]
    pattern = path_pattern([*names, "dog/x.png"]) or ""
    found = [group_named(each, pattern) for each in ("cat/patient7/1.png", "dog/x.png")]
    assert found == ["patient7", "dog/x.png"]


def test_names_of_classes_and_counters_are_no_groups() -> None:
    places = [(label, image) for label in range(6) for image in range(9)]
    labels = [label for label, _ in places]
    for name in ("c{}_{}.png", "c{}/{}.png", "{:02}_TUMOR/img_{:03}.jpg", "c{}/img_{}_a.png"):
        assert path_pattern([name.format(*each) for each in places], labels) is None
    for name in ("{:05}.png", "{:05}_x.png", "scan_{:03}.png", "case {:03}.png"):
        assert path_pattern([name.format(image) for image in range(90)]) is None
