"""Labels that come back: read from a body, matched to their answers, judged, recorded once."""

from monitoring.feedback.items import FeedbackItem, FeedbackResult, FeedbackStatus
from monitoring.feedback.labeling import FeedbackPolicy

__all__ = ["FeedbackItem", "FeedbackPolicy", "FeedbackResult", "FeedbackStatus"]
