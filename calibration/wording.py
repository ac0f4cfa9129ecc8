"""Counts in sentences."""


def counted(number: int, noun: str) -> str:
    """A count with its noun.

    >>> counted(1, "label"), counted(1234, "label"), counted(2, "probability"), counted(2, "class")
    ('1 label', '1,234 labels', '2 probabilities', '2 classes')
    """
    if number == 1:
        return f"1 {noun}"
    plural = f"{noun[:-1]}ies" if noun.endswith("ty") else f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{number:,} {plural}"
