"""What pages that act on versions require of the model store: that it is there, and has the model
and version.
"""

from model_store.store.store import Store
from serving.errors import ModelNotStored, StoreMissing, VersionNotStored


def require_model(store: Store, model: str) -> None:
    """Raise StoreMissing without a model store, ModelNotStored without the model."""
    known = store.models()
    if model in known:
        return
    if not known and not store.storage.exists():
        raise StoreMissing(store.storage.address)
    raise ModelNotStored(model, known=known)


def require_version(store: Store, model: str, version: int) -> None:
    """Raise VersionNotStored without this version of a model that there is."""
    known = store.versions(model)
    if version not in known:
        raise VersionNotStored(model, version, known=known)
