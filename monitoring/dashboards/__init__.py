"""Grafana dashboards, described in Python with Grafana's own types and kept beside it as JSON.

`python -m monitoring.dashboards` writes the JSON anew. What Grafana's schema does not know cannot be said: the types
are generated from it (package grafana-foundation-sdk, needed for this alone).
"""
