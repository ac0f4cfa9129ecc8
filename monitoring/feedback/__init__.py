"""Labels of answers: read from a body, joined to their answers, checked, and recorded once."""

from monitoring.feedback.items import FeedbackItem, FeedbackResult, FeedbackStatus
from monitoring.feedback.labeling import FeedbackPolicy

__all__ = ["FeedbackItem", "FeedbackPolicy", "FeedbackResult", "FeedbackStatus"]
