"""Sentences that name options of the command line, for callers in Python."""

import re
from typing import Final

_IN_PYTHON: Final = (
    (r"--logits '\*'", "logits=True"),
    (r"--normalize", "normalize=True"),
    (r"`--allow-label-changes` \(in Python `(\w+=True)`\)", r"`\1`"),
    (r"`--allow-label-changes`", "`allow_label_changes=True`"),
    (r"name the column with `--group`", "give `groups`"),
    (r"fill the column, or give --group none", "fill them, or leave `groups` out"),
    (
        r"Give --positive .*$",
        "Give `classes`, the second of which is the one that it is the probability of",
    ),
    (
        r"--positive names the other class",
        "`classes` in another order takes it as that of the other",
    ),
    (
        r"each needs a column, and each image one row: name the columns with --probabilities",
        "give an array of shape (N, K)",
    ),
    (r"--findings '([^']+)'", r"findings='\1'"),
    (r"need --exclusive|give --exclusive", "need exclusive=True"),
    (r"no --exclusive classes", "no exclusive classes"),
    (r"--classes", "`classes`"),
)


def in_python(sentence: str) -> str:
    """The sentence with the parameters in the place of the options.

    >>> in_python("for logits, give --logits '*'; else --normalize divides each row by its sum")
    'for logits, give logits=True; else normalize=True divides each row by its sum'
    """
    for option, parameter in _IN_PYTHON:
        sentence = re.sub(option, parameter, sentence)
    return sentence
