"""Each status of a model in a few words."""

from monitoring.findings.status import Status

TITLES = {
    Status.OK: "No miscalibration found",
    Status.EARLY: "Too early to say",
    Status.NO_LABELS: "No labels yet",
    Status.OFF: "Confidence and accuracy differ",
    Status.ALARM: "Alarm: confidence no longer matches accuracy",
}
SHORT_WORDS = {
    Status.OK: "ok",
    Status.EARLY: "too early",
    Status.NO_LABELS: "no labels",
    Status.OFF: "miscalibrated",
    Status.ALARM: "alarm",
}
