"""Terms of the field: on a page the first mention of each says on hover and on focus what it is."""

import re
from functools import cache
from typing import Final

from markupsafe import Markup

TERMS: Final = {
    "AUROC": "How often the model ranks a random case above a random image without it.",
    "Brier score": "The mean squared distance of probabilities from what labels say; 0 is best.",
    "canary": "A version that answers a share of the requests before it is put into production.",
    "confidence minus accuracy": "Above 0, the model is more confident than it is right.",
    "cross-validation": "Each part of the labels is predicted by a fit on the other parts.",
    "ECE": "Expected calibration error: the mean distance of what the model says from what labels "
    "show, over 15 ranges.",
    "interval": "Where the true figure lies, by these labels; 95 %: in 19 of 20 such intervals.",
    "negative log-likelihood": "How surprised the model is by what labels say; less is better.",
    "net benefit": "Cases found, less false alarms at the price that the threshold gives them.",
    "noise floor": "The ECE that a perfectly calibrated model would show by chance on as many "
    "labels.",
    "p-value": "Of images that the model was made for, the share that is as unusual as this one.",
    "points": "Percentage points: from 70 % to 75 % are 5 points.",
    "PPV": "Positive predictive value: the share of the positive answers that are right.",
    "probability minus share present": "Above 0, the finding is present less often than said.",
    "sensitivity": "The share of the cases that the model finds.",
    "specificity": "The share of the other images that the model leaves alone.",
    "tolerance": "How far off the model may be before the watch collects evidence against it.",
    "temperature": "The number that divides the logits before softmax. Above 1: less sure.",
}
_TAG: Final = re.compile(r"(<[^>]*>)")
_PLAIN: Final = (  # where no mark may stand: what is pressed, typed, drawn or computer text
    *("a", "button", "code", "label", "legend", "option", "pre"),
    *("script", "style", "summary", "svg", "textarea", "title"),
)


def explained(html: Markup) -> Markup:
    """Mark the first mention of each term in the text of a page.

    >>> explained(Markup("<p>ECE, <a>ECE</a> and ECE"))[:56]
    Markup('<p><dfn tabindex="0" data-said="Expected calibration err')
    """
    left, plain, parts = set(TERMS), "", list[str]()
    for part in _TAG.split(html):
        name = part[1:].split(" ", 1)[0].rstrip(">")
        if plain:
            plain = "" if name == f"/{plain}" else plain
        elif part.startswith("<"):
            plain = name if name in _PLAIN else ""
        else:
            part = _marked(part, left)
        parts.append(part)
    return Markup("".join(parts))  # of a page that is escaped already


def _marked(text: str, left: set[str]) -> str:
    def mark(found: re.Match[str]) -> str:
        term = next(each for each in TERMS if each.lower() == found[0].lower())
        if term not in left:
            return found[0]
        left.remove(term)
        return f'<dfn tabindex="0" data-said="{TERMS[term]}">{found[0]}</dfn>'

    return _mentions().sub(mark, text) if left else text


@cache
def _mentions() -> re.Pattern[str]:
    return re.compile(rf"\b({'|'.join(map(re.escape, TERMS))})\b", re.IGNORECASE)
