"""Where labels come from: the policy of each `source`, for one model or for every model.

A source without a policy, and a label that names none, is truth.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from monitoring.errors import SourcesInvalid, brief
from monitoring.http.fields import ID_LIMIT

POLICIES_LIMIT: Final = 100


class LabelPolicy(StrEnum):
    """What the labels of a source are used for."""

    TRUTH = "truth"  # everything
    PROXY = "proxy"  # compared with truths; never counted, no alarm, no recalibration
    IGNORE = "ignore"  # kept, and not used


@dataclass(frozen=True)
class SourcePolicies:
    """The policies of a model by source; `own` come before those of `every` model."""

    own: Mapping[str, LabelPolicy] = field(default_factory=dict)
    every: Mapping[str, LabelPolicy] = field(default_factory=dict)

    def of(self, source: str | None) -> LabelPolicy:
        """Return the policy of a source; None is a label that names none."""
        named = source or ""
        return self.own.get(named) or self.every.get(named, LabelPolicy.TRUTH)

    @property
    def named(self) -> dict[str, LabelPolicy]:
        """Every source that has a policy, with it, sorted."""
        return {source: self.of(source) for source in sorted({*self.own, *self.every})}


def check_policies(given: Mapping[str, Any]) -> dict[str, LabelPolicy]:
    """Return policies by source as they are stored. Raises SourcesInvalid."""
    if not isinstance(given, Mapping) or len(given) > POLICIES_LIMIT:
        raise SourcesInvalid(f"give at most {POLICIES_LIMIT} sources, each with its policy.")
    for source, policy in given.items():
        if not source or not source.isprintable() or len(source) > ID_LIMIT:
            raise SourcesInvalid(f"{brief(source)} cannot be the name of a source.")
        if policy not in tuple(LabelPolicy):
            raise SourcesInvalid(
                f"the policy of {brief(source)} is {brief(str(policy))}; expected "
                f"{', '.join(LabelPolicy)}."
            )
    return {source: LabelPolicy(policy) for source, policy in given.items()}


def read_pairs(pairs: Iterable[str]) -> dict[str, LabelPolicy]:
    """Return the policies in texts such as `report=proxy`. Raises SourcesInvalid.

    >>> read_pairs(["report=proxy"])
    {'report': <LabelPolicy.PROXY: 'proxy'>}
    """
    given: dict[str, str] = {}
    for pair in pairs:
        source, equals, policy = pair.rpartition("=")
        if not equals or source.strip() in given:
            raise SourcesInvalid(f"{brief(pair)}: name each source once, such as report=proxy.")
        given[source.strip()] = policy.strip()
    return check_policies(given)
