"""All models at a glance: is anybody to be worried about, and which one?"""

from grafana_foundation_sdk.builders import dashboard

from monitoring.dashboards.frame import frame
from monitoring.dashboards.panels import COUNT, PER_SECOND, PLAIN, RATIO, Query, figure, grid, lines, words

BY = ("model", "version")
COLUMNS = {
    "alarm": Query("max by (model, version) (candor_calibration_drift_active)"),
    "confidence minus accuracy": Query("model_version:candor_overconfidence:ratio1d"),
    "ECE": Query("model_version:candor_ece:ratio1d"),
    "noise floor": Query("model_version:candor_ece_noise_floor:ratio1d"),
    "accuracy": Query("model_version:candor_accuracy:ratio1d"),
    "labels": Query("model_version:candor_feedback:increase1d"),
    "labels cover": Query("model_version:candor_feedback_coverage:ratio1d"),
    "answers/s": Query("model_version:candor_requests:rate5m"),
}
UNITS = {
    "alarm": PLAIN,
    "confidence minus accuracy": RATIO,
    "ECE": RATIO,
    "noise floor": RATIO,
    "accuracy": RATIO,
    "labels": COUNT,
    "labels cover": RATIO,
    "answers/s": PER_SECOND,
}


def overview() -> dashboard.Dashboard:
    """The dashboard."""
    board = frame("candor-overview", "Candor: overview", "Is the confidence of all models still true?")
    alarms = figure(
        "Drift alarms standing",
        "Versions whose confidence no longer matches their accuracy. Each is worth waking somebody.",
        "count(max by (model, version) (candor_calibration_drift_active) == 1) or vector(0)",
        unit=PLAIN,
        alarm=1,
    )
    board = board.with_panel(words(alarms, _0="none"))
    board = board.with_panel(
        figure(
            "Versions that answer",
            "Loaded on at least one replica.",
            "count(group by (model, version) (candor_model_loaded == 1))",
            unit=PLAIN,
        )
    )
    board = board.with_panel(
        figure(
            "Answers per second",
            "All models, all replicas.",
            "sum(model_version:candor_requests:rate5m)",
            unit=PER_SECOND,
        )
    )
    board = board.with_panel(
        figure(
            "Labels in a day",
            "Without labels nothing is known about calibration.",
            "sum(model_version:candor_feedback:increase1d)",
            unit=COUNT,
        )
    )
    board = board.with_panel(
        figure(
            "Refused requests",
            "Share of everything that was asked in the last five minutes, whatever the reason.",
            "sum(reason:candor_requests_rejected:ratio5m)",
            alarm=0.05,
        )
    )
    board = board.with_panel(
        figure(
            "Labels not recorded",
            "In the last day, whatever the reason.",
            "sum(increase(candor_feedback_rejected_total[1d]))",
            unit=COUNT,
        )
    )
    board = board.with_panel(
        grid(
            "Models",
            "The last day of every version. An ECE near its noise floor says that nothing is wrong.",
            COLUMNS,
            by=BY,
            units=UNITS,
        )
    )
    board = board.with_panel(
        lines(
            "Evidence against calibration, as a share of what an alarm takes",
            "Over 100 % the alarm is raised.",
            Query(
                "max by (model, version) (clamp_min(candor_calibration_drift_log_evalue, 0)"
                " / candor_calibration_drift_log_threshold)",
                "{{model}} {{version}}",
            ),
        )
    )
    return board.with_panel(
        lines(
            "Confidence minus accuracy (last day)",
            "Above zero: too sure of itself.",
            Query("model_version:candor_overconfidence:ratio1d", "{{model}} {{version}}"),
            low=None,
        )
    )
