"""One version of one model: is its confidence still true, on how much evidence, and how do others stand beside it?"""

from grafana_foundation_sdk.builders import dashboard

from monitoring.dashboards.frame import frame, of_a_model
from monitoring.dashboards.panels import (
    COUNT,
    PER_SECOND,
    PLAIN,
    SECONDS,
    Query,
    Size,
    bars,
    dashed,
    figure,
    lines,
    scatter,
    words,
)

HERE = 'model="$model",version="$version"'
WINDOW = f'{HERE},window="$window"'
THIRD = Size(8, 8)
SURE = (
    f"sum by (bin) (model_version_bin:candor_feedback_confidence:increase1d{{{HERE}}})"
    f" / (sum by (bin) (model_version_bin:candor_feedback:increase1d{{{HERE}}}) > 0)"
)
RIGHT = (
    f"sum by (bin) (model_version_bin:candor_feedback_correct:increase1d{{{HERE}}})"
    f" / (sum by (bin) (model_version_bin:candor_feedback:increase1d{{{HERE}}}) > 0)"
)


def one_model() -> dashboard.Dashboard:
    """The dashboard."""
    board = of_a_model(frame("candor-model", "Candor: one model", "Is this model's confidence still true?"))
    for part in (_verdict, _calibration, _labels, _signs, _versions):
        board = part(board)
    return board


def _verdict(board: dashboard.Dashboard) -> dashboard.Dashboard:
    board = board.with_row(dashboard.Row("Is confidence still true?"))
    tall = Size(5, 5)
    alarm = figure(
        "Drift alarm",
        "Stands from the moment the evidence sufficed until it is acknowledged or another version serves.",
        f"max(candor_calibration_drift_active{{{HERE}}})",
        unit=PLAIN,
        size=Size(4, 5),
        alarm=1,
    )
    board = board.with_panel(words(alarm, _0="quiet", _1="ALARM"))
    for title, text, expr, unit in (
        (
            "Confidence minus accuracy",
            "Above zero: too sure of itself. The number to believe first.",
            f"max(candor_calibration_overconfidence_ratio{{{WINDOW}}})",
            "percentunit",
        ),
        (
            "ECE",
            "Mean distance between confidence and accuracy, bin by bin. Never read it without its floor.",
            f"max(candor_calibration_ece_ratio{{{WINDOW}}})",
            "percentunit",
        ),
        ("Labeled answers", "On how much evidence.", f"max(candor_calibration_labels{{{WINDOW}}})", COUNT),
        (
            "Labels cover",
            "Share of the last day's answers that got a label.",
            f"model_version:candor_feedback_coverage:ratio1d{{{HERE}}}",
            "percentunit",
        ),
    ):
        board = board.with_panel(figure(title, text, expr, unit=unit, size=tall))
    return board


def _calibration(board: dashboard.Dashboard) -> dashboard.Dashboard:
    ece = lines(
        "Calibration error and its noise floor",
        "The floor is the ECE that chance gives a perfect model on as many labels: near it, nothing is wrong.",
        Query(f"max(candor_calibration_ece_ratio{{{WINDOW}}})", "ECE"),
        Query(f"max(candor_calibration_noise_floor_ratio{{{WINDOW}}})", "noise floor"),
    )
    gap = lines(
        "Confidence minus accuracy, with 95 % interval",
        "An interval that leaves zero out is more than chance, looked at once.",
        Query(f"max(candor_calibration_overconfidence_ratio{{{WINDOW}}})", "confidence minus accuracy"),
        Query(f"max(candor_calibration_overconfidence_lower_ratio{{{WINDOW}}})", "lower"),
        Query(f"max(candor_calibration_overconfidence_upper_ratio{{{WINDOW}}})", "upper"),
        low=None,
    )
    evidence = lines(
        "Evidence against calibration",
        "Log of the e-value. At the threshold the alarm is raised; it may be looked at as often as you like.",
        Query(f"max(candor_calibration_drift_log_evalue{{{HERE}}})", "evidence"),
        Query(f"max(candor_calibration_drift_log_threshold{{{HERE}}})", "alarm"),
        unit=PLAIN,
    )
    board = board.with_panel(dashed(ece, "noise floor", "gray"))
    board = board.with_panel(dashed(dashed(gap, "lower", "gray"), "upper", "gray"))
    board = board.with_panel(dashed(evidence, "alarm", "red"))
    return board.with_panel(
        scatter(
            "Reliability diagram (last day)",
            "A dot for each confidence bin. On the line: as right as it was sure. Under it: too sure.",
            x=Query(SURE, "sure of"),
            y=Query(RIGHT, "right in"),
            truth=Query(SURE, "as right as sure"),
            by="bin",
        )
    )


def _labels(board: dashboard.Dashboard) -> dashboard.Dashboard:
    board = board.with_row(dashboard.Row("Labels"))
    per_hour = "sum(rate({name}{{{here}}}[$__rate_interval])) * 3600"
    counts = {
        "first": "candor_feedback_total",
        "corrections": "candor_feedback_corrections_total",
        "repeats": "candor_feedback_duplicates_total",
    }
    board = board.with_panel(
        lines(
            "Labels per hour",
            "First labels of answers, changed labels, and labels sent again.",
            *(Query(per_hour.format(name=name, here=HERE), legend) for legend, name in counts.items()),
            unit=COUNT,
            size=THIRD,
        )
    )
    delay = f"sum by (le) (increase(candor_feedback_delay_seconds_bucket{{{HERE}}}[1d]))"
    board = board.with_panel(
        lines(
            "Label delay (last day)",
            "From an answer to its first label.",
            Query(f"histogram_quantile(0.5, {delay})", "median"),
            Query(f"histogram_quantile(0.9, {delay})", "nine in ten within"),
            unit=SECONDS,
            size=THIRD,
        )
    )
    return board.with_panel(
        lines(
            "Labels cover (last day)",
            "Share of answers that got a label. What is labeled should be a fair sample of what is answered.",
            Query(f"model_version:candor_feedback_coverage:ratio1d{{{HERE}}}", "coverage"),
            size=THIRD,
        )
    )


def _signs(board: dashboard.Dashboard) -> dashboard.Dashboard:
    board = board.with_row(dashboard.Row("Before labels come: signs, never a page"))
    board = board.with_panel(
        lines(
            "Answers per second",
            "All replicas.",
            Query(f"sum(rate(candor_predictions_total{{{HERE}}}[$__rate_interval]))", "answers"),
            unit=PER_SECOND,
            size=THIRD,
        )
    )
    board = board.with_panel(
        lines(
            "Expected accuracy, and accuracy (last day)",
            "Expected: the mean confidence of all answers, which is the accuracy if confidence is true.",
            Query(f"model_version:candor_expected_accuracy:ratio1d{{{HERE}}}", "expected"),
            Query(f"model_version:candor_accuracy:ratio1d{{{HERE}}}", "accuracy"),
            size=THIRD,
            low=None,
        )
    )
    served = f"model_version_bin:candor_predictions:increase1d{{{HERE}}}"
    return board.with_panel(
        bars(
            "Confidence of all answers, and in the card's reference",
            "Other images than in training show here first.",
            Query(f"sum by (bin) ({served}) / scalar(sum({served}) > 0)", "served"),
            Query(f"max by (bin) (candor_reference_confidence_bin_ratio{{{HERE}}})", "reference"),
            size=THIRD,
        )
    )


def _versions(board: dashboard.Dashboard) -> dashboard.Dashboard:
    """A canary beside what it would replace."""
    board = board.with_row(dashboard.Row("Versions side by side (last day)"))
    here = 'model="$model"'
    for title, text, name, low in (
        (
            "Confidence minus accuracy, by version",
            "A new version should be nearer to zero, and not less accurate.",
            "model_version:candor_overconfidence:ratio1d",
            None,
        ),
        ("ECE, by version", "Few labels mean a high floor: compare with it.", "model_version:candor_ece:ratio1d", 0),
        ("Noise floor, by version", "By chance alone.", "model_version:candor_ece_noise_floor:ratio1d", 0),
        ("Accuracy, by version", "Answers that were right.", "model_version:candor_accuracy:ratio1d", None),
    ):
        board = board.with_panel(
            lines(title, text, Query(f"{name}{{{here}}}", "version {{version}}"), size=Size(6, 8), low=low)
        )
    return board
