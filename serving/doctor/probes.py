"""Whether the models in production compute here as where they were published."""

from collections.abc import Iterable, Iterator
from functools import partial

from model_store.bundle.bundle import Bundle
from serving.doctor.check_result import CheckResult, State
from serving.errors import ModelUnusable
from serving.inference.predictor import open_predictor, served_variant
from serving.settings import Settings

_PROBES = partial(CheckResult, "probe images")


def check_probes(settings: Settings, bundles: Iterable[Bundle]) -> Iterator[CheckResult]:
    """Ask each model its probe images, in the precision and on the device that a server takes."""
    for bundle in bundles:
        chosen = served_variant(bundle, settings.precision, device=settings.device)
        name = f"{chosen.card.name} version {chosen.card.version} ({chosen.card.precisions[0]})"
        try:
            found = open_predictor(chosen, device=settings.device).difference
        except ModelUnusable as error:
            advice = "the sentence says what to do; docs/bundle.md explains probe images"
            state: State = "broken" if settings.on_difference == "refuse" else "warning"
            yield _PROBES(state, str(error).removesuffix("."), advice)
            continue
        if found is None:
            yield _PROBES("skipped", f"{name} has none")
        else:
            yield _PROBES("ok", f"{name} computes here as where it was published, to {found:.1g}")
