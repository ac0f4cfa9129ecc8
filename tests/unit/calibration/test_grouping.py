"""What tells patients apart is found by name, and asked about where values only look like it."""

from calibration.grouping import group_column, repeats

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
