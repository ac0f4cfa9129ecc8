"""The aliases in the folder of a model, read and kept in step with its history."""

import re
from contextlib import suppress

from model_store.bundle.files import UnsafeFile
from model_store.errors import AliasError
from model_store.store.alias import ALIAS_PATTERN, Alias, parse_alias, require_alias_name
from model_store.store.history import append, event_of
from model_store.store.storage import Storage


def alias_names(storage: Storage, model: str) -> list[str]:
    """Return the names of a model's aliases, sorted, also of those that cannot be read."""
    files = (entry.name for entry in storage.entries(model) if not entry.is_folder)
    return [name for name in files if re.fullmatch(ALIAS_PATTERN, name)]


def read_alias(storage: Storage, model: str, alias: str) -> Alias | None:
    """Return where an alias points; None if it is not set. Raises AliasError."""
    try:
        data = storage.read(model, require_alias_name(alias))
    except OSError as error:
        again = f"set it again with `candor promote {model} VERSION`"
        raise AliasError(
            f"the alias '{alias}' of '{model}' is refused: {error.strerror}; {again}"
        ) from error
    return None if data is None else parse_alias(model, alias, data)


def read_aliases(storage: Storage, model: str) -> dict[str, Alias]:
    """Return every alias that can be read, by its name."""
    aliases = {}
    for name in alias_names(storage, model):
        with suppress(AliasError):
            if alias := read_alias(storage, model, name):
                aliases[name] = alias
    return aliases


def recorded(storage: Storage, model: str, alias: str) -> tuple[bytes | None, Alias | None]:
    """Return an alias's content and meaning, after adding it to the history if needed.

    The process that set it may have died before it could.
    """
    old = was = None
    with suppress(UnsafeFile):
        old = storage.read(model, alias)
    with suppress(AliasError):
        was = None if old is None else parse_alias(model, alias, old)
    if was is not None:
        append(storage, model, event_of(alias, was))
    return old, was
