"""Why a foreign model is not taken in. Each error is a sentence that says what was found and what
to do.
"""

from model_store.errors import ModelStoreError


class ForeignModelRefused(ModelStoreError):
    """The file is no image classifier that Candor can serve, or it is not safe to run."""


class ForeignModelUnclear(ModelStoreError):
    """Neither the graph nor the labeled images tell something that the caller has to say."""


class LabeledFolderRefused(ModelStoreError):
    """The folder of labeled images cannot be used with this model."""
