"""Examples of the last few feature sets, in memory, so that a trial of seconds does not read and
pool maps again.
"""

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

from training.fitting.examples import Examples
from training.networks.classifier import Classifier
from training.runs.session import ExampleName, TrainingSession

# pooled features of a few thousand images are tens of MB; maps are memory-mapped and cost nothing
KEPT_SETS = 6
_kept: OrderedDict[tuple[object, ...], Mapping[ExampleName, Examples]] = OrderedDict()


def shared_examples(
    session: TrainingSession, network: Classifier, *, cache: Path
) -> Mapping[ExampleName, Examples]:
    """The examples of `session` as its head takes them, shared by all runs on the same features."""
    key = (session.dataset.fingerprint, str(cache), *features_of(session))
    if key not in _kept:
        _kept[key] = session.for_head(session.examples(network, cache=cache))
        if len(_kept) > KEPT_SETS:
            _kept.popitem(last=False)
    _kept.move_to_end(key)
    return _kept[key]


def features_of(session: TrainingSession) -> tuple[object, ...]:
    """What the examples of a session depend on besides its data.

    Random weights depend on the seed; so do blocks that are trained on top of them.
    """
    config = session.config
    return (
        config.backbone, str(config.weights), config.image_size, config.resize, config.views, config.perturbed,
        config.test_views, config.frozen, config.trainable, config.augment, config.head,
        config.probe_epochs > 0,
        config.seed if config.weights == "none" else None,
    )  # fmt: skip
