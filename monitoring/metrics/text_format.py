"""What `/metrics` says, in Prometheus' text format or in OpenMetrics.

The client library's encoders take 70 to 120 ms for twenty versions, most of it spent on escaping the same labels again
and again; this one remembers each line up to its number. Their `_created` series are left out: every series here is
born at zero, which is what they are for. Exemplars exist in OpenMetrics alone.
"""

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.samples import Exemplar, Sample
from prometheus_client.utils import floatToGoString

REMEMBERED = 200_000  # lines; versions come and go, memory must not

Labels = dict[str, str]


class Exposition:
    """The encoder of one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._heads: dict[tuple[object, ...], str] = {}

    def render(self, accept: str) -> tuple[bytes, str]:
        """Every metric, and the content type, for a request with this Accept header."""
        _, content_type = choose_encoder(accept)
        openmetrics = content_type.startswith("application/openmetrics-text")
        if len(self._heads) > REMEMBERED:
            self._heads.clear()
        return self._encode(openmetrics), content_type

    def _encode(self, openmetrics: bool) -> bytes:
        lines: list[str] = []
        for family in self._registry.collect():
            lines += _head(family, openmetrics)
            lines += self._samples(family.samples, openmetrics)
        if openmetrics:
            lines.append("# EOF\n")
        return "".join(lines).encode()

    def _samples(self, samples: Iterable[Sample], openmetrics: bool) -> Iterator[str]:
        heads = self._heads
        for sample in samples:
            name, labels, value, _, exemplar, *_ = sample
            key = (name, *labels.values())
            head = heads.get(key)
            if head is None:
                head = heads[key] = "" if name.endswith("_created") else _series(name, labels)
            if head:
                tail = _exemplar(exemplar) if exemplar and openmetrics else ""
                yield f"{head} {_number(value)}{tail}\n"


def _head(family: Metric, openmetrics: bool) -> list[str]:
    counter_suffix = "_total" if family.type == "counter" and not openmetrics else ""
    name, kind = family.name + counter_suffix, family.type
    if kind == "unknown" and not openmetrics:
        kind = "untyped"
    text = family.documentation.replace("\\", r"\\").replace("\n", r"\n")
    if openmetrics:
        text = text.replace('"', r"\"")
    return [f"# HELP {name} {text}\n", f"# TYPE {name} {kind}\n"]


def _series(name: str, labels: Labels) -> str:
    """A sample's name with its labels, sorted; a name's label names never change, so its values are key enough."""
    return name + (f"{{{_pairs(labels)}}}" if labels else "")


def _number(value: float) -> str:
    """As Go writes it; below a million that is Python's way."""
    return repr(float(value)) if -1e6 < value < 1e6 else str(floatToGoString(value))  # type: ignore[no-untyped-call]


def _exemplar(exemplar: Exemplar) -> str:
    moment = "" if exemplar.timestamp is None else f" {exemplar.timestamp}"
    return f" # {{{_pairs(exemplar.labels)}}} {_number(exemplar.value)}{moment}"


def _pairs(labels: Labels) -> str:
    return ",".join(f'{name}="{_escape(value)}"' for name, value in sorted(labels.items()))


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
