"""Which versions answer: of each model the one in production, the one before, and one on trial."""

from dataclasses import dataclass, replace

from serving.deployment.canary import Trial
from serving.errors import NotReady, UnknownModel, UnknownVersion
from serving.inference.served_version import ServedVersion


@dataclass(frozen=True, slots=True)
class Slot:
    """The loaded versions of one model: the one that answers by default, the one before, and a canary on trial."""

    production: ServedVersion
    previous: ServedVersion | None = None
    trial: Trial | None = None

    @property
    def loaded(self) -> tuple[ServedVersion, ...]:
        """Every version that is loaded, one in the shadow too."""
        known = (self.production, self.previous, self.trial.served if self.trial else None)
        return tuple(served for served in known if served is not None)

    @property
    def versions(self) -> dict[int, ServedVersion]:
        """The versions that answer, by number, production first."""
        tried = self.trial.served if self.trial and not self.trial.shadows else None
        loaded = (self.production, self.previous, tried)
        return {served.card.version: served for served in loaded if served is not None}


class Fleet:
    """The loaded models: read on the event loop, changed by the switch's thread, one slot at a time, atomically."""

    def __init__(self) -> None:
        self._slots: dict[str, Slot] = {}

    def find(self, model: str, version: str | None = None, *, canary: bool | None = None) -> ServedVersion:
        """The version that answers; raises NotReady, UnknownModel or UnknownVersion.

        Without `version` it is production or, as its mode and the request's wish `canary` say, the version on trial.
        """
        slot = self._slots.get(model)
        if slot is None:
            if not self._slots:
                raise NotReady("no model is loaded; publish one and promote it, or wait until it is loaded.")
            raise UnknownModel(model, known=self._slots)
        if version is None:
            if slot.trial is not None and slot.trial.takes(canary):
                return slot.trial.served
            return slot.production
        found = (
            slot.versions.get(int(version)) if version.isascii() and version.isdigit() and len(version) < 10 else None
        )
        if found is None:
            raise UnknownVersion(model, version, known=slot.versions)
        return found

    def production(self, model: str) -> int | None:
        """The version that answers for `model` by default, None for an unknown model."""
        slot = self._slots.get(model)
        return None if slot is None else slot.production.card.version

    def shadow_of(self, served: ServedVersion) -> ServedVersion | None:
        """The version that computes in the shadow of `served`, if there is one."""
        slot = self._slots.get(served.card.name)
        if slot is None or slot.trial is None or not slot.trial.shadows or served is not slot.production:
            return None
        return slot.trial.served

    def slots(self) -> dict[str, Slot]:
        """A copy of the models by name."""
        return dict(self._slots)

    def install(self, served: ServedVersion) -> list[ServedVersion]:
        """Make `served` its model's production version; returns the versions that fall out."""
        old = self._slots.get(served.card.name)
        if old is None:
            return self._settle(served.card.name, Slot(served))
        trial = old.trial if old.trial is not None and old.trial.served is not served else None
        return self._settle(served.card.name, Slot(served, old.production, trial))

    def try_out(self, model: str, trial: Trial | None) -> list[ServedVersion]:
        """Put a version on trial, or none; returns the versions that fall out."""
        return self._settle(model, replace(self._slots[model], trial=trial))

    def _settle(self, model: str, slot: Slot) -> list[ServedVersion]:
        old = self._slots.get(model)
        self._slots[model] = slot
        return [served for served in (old.loaded if old else ()) if served not in slot.loaded]
