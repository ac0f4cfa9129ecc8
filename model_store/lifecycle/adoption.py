"""Bundles of before there were manifests: how a person who trusts them takes them over.

Without a manifest nothing shows whether a card is the one that was published, so such a bundle is
refused until then.
"""

from contextlib import suppress

from model_store.bundle.bundle import Bundle, check_unsealed
from model_store.bundle.manifest import MANIFEST_FILE, write_manifest
from model_store.errors import ManifestError
from model_store.store.alias import unsealed_version
from model_store.store.history import append, new_event
from model_store.store.store import Store, check_owner


def unsealed(store: Store, name: str, version: int) -> Bundle:
    """Return a bundle without a manifest, as `adopt` would take it over.

    Raises:
        NotInStore, BundleError: the version does not exist, has a manifest, or differs from the
        hashes on its card.
    """
    folder = store.require(name, version)
    if (folder / MANIFEST_FILE).exists():
        raise ManifestError(folder, "it has a manifest already, so there is nothing to adopt")
    return check_owner(check_unsealed(folder), name, version)


def adopt(store: Store, bundle: Bundle, *, by: str | None = None) -> list[str]:
    """Write the manifest of a bundle that has none, and its digest into the aliases that name only
    its number.

    Args:
        bundle: as `unsealed` returned it, so that nothing is adopted that nobody has seen.

    Returns:
        The aliases that point at it now.
    """
    name, version = bundle.card.name, bundle.card.version
    if unsealed(store, name, version).digest != bundle.digest:
        raise ManifestError(
            bundle.folder, "its files have changed since they were shown: look at them again"
        )
    write_manifest(bundle.folder, name=name, version=version)
    append(store.storage, name, new_event("adopted", version=version, digest=bundle.digest, by=by))
    moved = [
        alias for alias in store.alias_names(name) if _names_number(store, name, alias) == version
    ]
    for alias in moved:
        store.set_alias(name, alias, version, by=by, why="adopted: the bundle had no manifest")
    return moved


def _names_number(store: Store, name: str, alias: str) -> int | None:
    with suppress(OSError):
        return unsealed_version(store.storage.read(name, alias) or b"")
    return None
