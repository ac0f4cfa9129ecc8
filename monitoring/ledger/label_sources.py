"""The policies of label sources in the ledger, and what a label counts as."""

from collections.abc import Collection, Mapping
from enum import IntEnum
from typing import Final

from sqlalchemy import Connection, select

from monitoring.ledger.database import replacing
from monitoring.ledger.schema import label_source
from monitoring.sources import LabelPolicy, SourcePolicies

EVERY_MODEL = ""
UNCERTAIN: Final = "uncertain"  # the label of a finding about which the reader does not decide
UNCERTAIN_LABEL: Final = -1  # the same in place of the index of a class
_KEEP = replacing(label_source)


class CountsAs(IntEnum):
    """What a label counts as. Above TRUTH it reaches no sum, no detector and no recalibration."""

    TRUTH = 0
    SECOND_READING = 1
    PROXY = 2
    IGNORED = 3
    UNCERTAIN = 4


def read_policies(connection: Connection, models: Collection[str]) -> dict[str, SourcePolicies]:
    """Return the policies of each of these models; EVERY_MODEL has those of every model alone."""
    found: dict[str, dict[str, LabelPolicy]] = {EVERY_MODEL: {}}
    wanted = select(label_source).where(label_source.c.model.in_([*models, EVERY_MODEL]))
    for model, source, policy in connection.execute(wanted):
        found.setdefault(model, {})[source] = LabelPolicy(policy)
    every = found.pop(EVERY_MODEL)
    return {model: SourcePolicies(found.get(model, {}), every) for model in models}


def write_policies(connection: Connection, model: str, policies: Mapping[str, LabelPolicy]) -> None:
    """Set the policies of sources of a model, or of EVERY_MODEL; others stay as they are."""
    _KEEP.run(connection, [(model, source, str(each)) for source, each in policies.items()])
