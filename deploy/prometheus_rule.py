"""Makes the PrometheusRule of `deploy/kubernetes` from `monitoring/rules`: `python -m
deploy.prometheus_rule`.

The rules have one source. A test holds that the file is what this makes.
"""

from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[1]
SOURCES: Final = sorted((ROOT / "monitoring" / "rules").glob("*.rules.yml"))
TARGET: Final = ROOT / "deploy" / "kubernetes" / "prometheus" / "prometheus-rule.yaml"
HEADER: Final = (
    "# Made from monitoring/rules by `python -m deploy.prometheus_rule`; change it there.\n"
)


class _Dumper(yaml.SafeDumper):
    """Writes expressions of several lines as such."""


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
    ),
)


def prometheus_rule() -> dict[str, Any]:
    """The resource of the Prometheus operator that holds every group of every file."""
    groups = [group for source in SOURCES for group in yaml.safe_load(source.read_text())["groups"]]
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "candor", "labels": {"app.kubernetes.io/name": "candor"}},
        "spec": {"groups": groups},
    }


def text() -> str:
    """What the file must hold."""
    return HEADER + yaml.dump(prometheus_rule(), Dumper=_Dumper, sort_keys=False, width=1000)


if __name__ == "__main__":
    TARGET.write_text(text())
