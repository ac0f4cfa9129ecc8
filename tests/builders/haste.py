"""Rules and configurations of Prometheus and Alertmanager as they are, but for their patience."""

import re

_SUBSTITUTIONS = (
    (r"\b(scrape_interval|evaluation_interval|interval): \d+[smh]", r"\1: 1s"),
    (r"\bfor: \d+[smh]", "for: 1s"),
    (r"\bgroup_wait: \d+s", "group_wait: 0s"),
    (r"\bgroup_interval: \d+m", "group_interval: 1s"),
)


def hurried(text: str) -> str:
    """The text with every interval and delay at a second."""
    for pattern, replacement in _SUBSTITUTIONS:
        text = re.sub(pattern, replacement, text)
    return text
