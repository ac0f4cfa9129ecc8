"""What the terminal says where the model store that was named is not there: one that comes later
counts.
"""

from serving.settings import Settings


def missing_store(settings: Settings, *, consequence: str) -> str:
    """A line for the terminal; empty if the store is there, or at an address, which only a request
    would show.
    """
    store = settings.opened_store
    if store.address is not None or store.root.is_dir():
        return ""
    return (
        f"There is no model store at {settings.store} yet: {consequence} `candor export` and "
        "`candor import` make one, "
        "and --store or CANDOR_STORE names another.\n"
    )
