"""Each status of a model in a few words."""

from monitoring.findings.status import Status

WORDS = {
    Status.OK: "Confidence can be believed",
    Status.EARLY: "Too early to say",
    Status.NO_LABELS: "No labels yet",
    Status.OFF: "Confidence is off",
    Status.ALARM: "Alarm: confidence no longer matches accuracy",
}
SHORT_WORDS = {
    Status.OK: "believable",
    Status.EARLY: "too early",
    Status.NO_LABELS: "no labels",
    Status.OFF: "off",
    Status.ALARM: "alarm",
}
