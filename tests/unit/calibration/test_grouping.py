"""What tells patients apart: columns by name, and parts of paths that are asked about."""

import itertools

import pytest

from calibration.grouping import group_column, group_named, repeats
from calibration.shared_parts import path_pattern

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


PATIENTS = {  # name of image {i} of patient {p}, of class {c}: what is asked for p = 3, i = 1
    "P{p:03}_{i}.png": "P003",
    "p{p}_{i}.png": "p3",
    "s{p:03}_{i}.png": "s003",
    "cat/{p}/{i}.png": "3",
    "{p:05}/study1/view{i}_frontal.png": "00003",
    "patient{p:05}/study1/view{i}_frontal.png": "patient00003",
    "{c}/patient{p:05}/{i}.png": "patient00003",
    "train/PNEUMONIA/person{p}_virus_{i}.jpeg": "person3",
    "{c}/person{p}-bacteria-{i}.jpeg": "person3",
    "{c}/IM-{p:04}-{i:04}.dcm": "IM-0003",
    "{c}/NORMAL2-IM-{p:04}-{i:04}.jpeg": "NORMAL2-IM-0003",
    "images_001/images/{p:08}_{i:03}.png": "00000003",
    "TCGA-{p:02}-x-{i}.tif": "TCGA-03",
    "CNV/CNV-{p}-{i}.jpeg": "CNV-3",
    "sub-{p:02}/anat/sub-{p:02}_ses-{i}_T1w.png": "sub-03",
    "t{i}_patient{p:05}.png": "patient00003",
    "{c}/C{p}P1ThinF_IMG_20150918_1441{i:02}_cell_{i}.png": "C3P1ThinF",
    "{c}/{p}_idx5_x51_y{i}_class0.png": "3",
    "{c}/img_{p:03}_aug{i}.png": "img_003",
    "{c}/BloodImage_{p:05}_jpg.rf.{i}a.jpg": "BloodImage_00003",
    "{c}/{p}{i}_p{p:04}b_MG_{i}.png": "p0003b",
    "site2_{p:04}_{i}.png": "site2_0003",
    "{c}/slide_{p}_tile_{i}.png": "slide_3",
    "20240105_P{p:02}_{i}.png": "20240105_P03",
}
ALONE = (
    "{c}/img_{n:03}.png",
    "{c}/from_{n}.png",
    "{c}/from_abc{n}.png",
    "{c}/{n:04}.png",
    "{n}.png",
    "{c}/{n:05}_x.png",
    "{c}/ISIC_{n:07}.jpg",
    "{c}/ISIC_{n:07}_downsampled.jpg",
    "{c}/IM-0001-{n:04}.dcm",
    "{c}/scan_{n:03}.png",
    "{c}/case {n:03}.png",
    "{c}/glioma ({n}).jpg",
    "{c}/{n} no.jpg",
    "{c}/Tr-gl_{n:04}.jpg",
    "view{i}_frontal.png{p}",
    "train/{n}_{c}.png",
    "{c}/{n}_{p}.0.png",
    "fold{p}/{n:03}.png",
    "images_{p:03}/{n:03}.png",
    "site{p}/scan{i}.png",
    "site{p}_{i}.png",
    "{c}/224x224/{n}.png",
    "2019-01-{p:02}/{i}.png",
    "IMG_20240{p}01_1200{i:02}.jpg",
    "Screenshot 2023-05-0{p} at 1{i}.30.{p}{i}.png",
    "tile_{n}_x{p:03}_y{i}.png",
    "{n}_M_{p:03}Y.png",
    "{c}/{i}/{n}.png",
    "scan.png{p}{i}",
)
PLACES = [
    {"p": p, "i": i, "c": ("cat", "dog")[p % 2], "n": 5 * p + i}
    for p, i in itertools.product(range(1, 10), range(4))
]
LABELS = [str(place["c"]) for place in PLACES]


@pytest.mark.parametrize(("layout", "patient"), PATIENTS.items())
@pytest.mark.parametrize("labels", [LABELS, ()])
def test_a_part_that_is_shared(layout: str, patient: str, labels: list[str]) -> None:
    found = path_pattern([layout.format(**place) for place in PLACES], labels)
    assert found is not None
    pattern, shown = found
    assert group_named(shown, pattern) != shown
    assert group_named(layout.format(p=3, i=1, c="dog", n=16), pattern) == patient


@pytest.mark.parametrize("layout", ALONE)
@pytest.mark.parametrize("labels", [LABELS, ()])
def test_images_that_are_only_numbered(layout: str, labels: list[str]) -> None:
    assert path_pattern([layout.format(**place) for place in PLACES], labels) is None


@pytest.mark.parametrize(
    "name",
    [
        *("{}L.png {}R.png", "left_{}.png right_{}.png", "{}_l.png {}_r.png"),
        *("well/left/{}.png well/right/{}.png", "OD/{}.jpg OS/{}.jpg"),
    ],
)
def test_two_sides_of_one_patient(name: str) -> None:
    names = " ".join(name.replace("{}", f"{patient:03}") for patient in range(9)).split()
    pattern, _ = path_pattern(names) or ("", "")
    assert {group_named(each, pattern) for each in names} == {f"{each:03}" for each in range(9)}


def test_images_without_the_part_are_alone() -> None:
    names = [f"cat/patient{number // 3}/{number}.png" for number in range(30)]
    pattern, _ = path_pattern([*names, "dog/x.png"]) or ("", "")
    found = [group_named(each, pattern) for each in ("cat/patient7/1.png", "dog/x.png")]
    assert found == ["patient7", "dog/x.png"]


def test_the_patients_of_one_class_among_many() -> None:
    names = [f"rare/P{number // 3:02}_{number % 3}.png" for number in range(30)]
    names += [f"often/{number}.png" for number in range(300)]
    labels = [name.split("/")[0] for name in names]
    pattern, shown = path_pattern(names, labels) or ("", "")
    assert group_named(shown, pattern) == "P00"
    assert group_named("often/7.png", pattern) == "often/7.png"


@pytest.mark.parametrize(
    "name", ["c{}_{}.png", "c{}/{}.png", "{:02}_TUMOR/img_{:03}.jpg", "c{}/img_{}_a.png"]
)
def test_the_name_of_a_class(name: str) -> None:
    places = list(itertools.product(range(6), range(9)))
    assert path_pattern([name.format(*each) for each in places], [at for at, _ in places]) is None


def test_numbers_begin_anew_with_each_label() -> None:
    names = [f"images/{number}_{label}.png" for label in "abc" for number in range(20)]
    assert path_pattern(names, [label for label in "abc" for _ in range(20)]) is None
