"""A named choice of an experiment: a data set, a network or a method, with its changes of a
TrainConfig.

It is written as one line: the subject, then `key=value` for any field of TrainConfig, and for a
method also any option of its loss. `x3` is short for `heads=3`, `ema` and `swa` for
`averaging=...`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from training.errors import BadChoice
from training.runs.config import TrainConfig

AVERAGING = ("ema", "swa")
# Choices with a place of their own. A title such as "ce seed=21" would promise a run that is not
# made.
ELSEWHERE = {
    "seed": "give --first-seed and --seeds",
    "loss": "start the method with the name of the loss",
    "backbone": "start the network with the name of the backbone",
}


@dataclass(frozen=True)
class Variant:
    """`title` is the name in tables, `subject` a data source, backbone or loss; `changes` are
    fields of TrainConfig.
    """

    title: str
    subject: str
    changes: Mapping[str, Any] = field(default_factory=dict)


def parse_variant(text: str, *, title: str | None = None) -> Variant:
    """The variant that `text` describes. Raises BadChoice.

    >>> parse_variant("dca+mixup x3 beta=10").changes
    {'heads': 3, 'beta': 10}
    """
    subject, *words = text.split() or [""]
    if not subject or "=" in subject:
        raise BadChoice(f"{text!r} does not start with a name; expected NAME [key=value ...]")
    changes: dict[str, Any] = {}
    for word in words:
        key, value = _change(word, text)
        changes[key] = value
    return Variant(title or " ".join([subject, *words]), subject, changes)


def changed(config: TrainConfig, *changes: Mapping[str, Any]) -> TrainConfig:
    """`config` with `changes`; later ones win. Keys that are no fields are options of the loss.
    Raises BadChoice.
    """
    merged: dict[str, Any] = {key: value for each in changes for key, value in each.items()}
    known = TrainConfig.model_fields
    options = {key: merged.pop(key) for key in list(merged) if key not in known}
    if options and "loss_options" in known:
        merged["loss_options"] = getattr(config, "loss_options", {}) | options
        options = {}
    try:
        return TrainConfig.model_validate(config.model_dump() | merged | options)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()
        )
        raise BadChoice(f"{problems} (in {merged | options})") from error


def _change(word: str, text: str) -> tuple[str, Any]:
    key, equals, value = word.partition("=")
    if equals and key in ELSEWHERE:
        raise BadChoice(f"{word!r} in {text!r} has no effect there; {ELSEWHERE[key]}")
    if equals and key:
        return key, value_of(value)
    if word in AVERAGING:
        return "averaging", word
    if word.startswith("x") and word[1:].isdigit():
        return "heads", int(word[1:])
    raise BadChoice(
        f"{word!r} in {text!r} is unknown; expected key=value, xN, {' or '.join(AVERAGING)}"
    )


def value_of(text: str) -> Any:
    """The text as a JSON value, such as a number or true, else the text itself."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
