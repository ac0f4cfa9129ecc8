"""What the columns of other people's tables are called."""

import re
from typing import Final
from unicodedata import normalize

LABEL: Final = (
    "label labels true_label true_class truth true ground_truth gt gold target targets y y_true "
    "ytrue actual class class_name class_id label_name label_id gt_label gt_class obs observed "
    "diagnosis reference finding_labels findings"
)
PREDICTED: Final = (
    "predicted prediction predictions pred preds y_pred ypred predicted_label predicted_class "
    "prediction_label pred_label pred_class"
)
CONFIDENCE: Final = "confidence conf max_prob max_probability top_probability certainty"
CORRECT: Final = "correct is_correct right is_right hit"
SINGLE: Final = (
    "p prob proba probability y_prob y_proba y_score score positive_probability prob_positive"
)
VECTOR: Final = "probabilities probs logits scores softmax"
FILES: Final = (
    "file filename file_name filepath file_path image image_id image_file image_path path"
)
ROW_IDS: Final = ("id", "prediction_id", "request_id", "uid", "uuid")
IDS: Final = f"{FILES} {' '.join(ROW_IDS)} index idx row unnamed_0"

LOGITS: Final = ("logit", "logits")
_SCORE: Final = (
    r"y_probs?|y_proba|probs?|proba|probability|probabilities|softmax|scores?|logits?|preds?|"
    r"predictions?|pr?"
)
PREFIXED: Final = re.compile(  # also .pred_A, p(A), P(y = A | x), prediction_score_A
    rf"\.?(pred(iction)?[ _.])?(?P<kind>{_SCORE})[ _.:\-\[(]+"
    r"(\w+\s*=\s*)?(?P<name>.+?)(\s*\|\s*x)?[\])]?",
    re.IGNORECASE,
)
JOINED: Final = re.compile(rf"(?P<kind>{_SCORE})(?P<name>\d+)", re.IGNORECASE)
NUMBERED: Final = re.compile(r"(class[ _.\-]*)?\d+", re.IGNORECASE)
SUFFIXED: Final = re.compile(rf"(?P<name>.+?)[ _.:\-]+(?P<kind>{_SCORE})", re.IGNORECASE)
_TRUTH: Final = r"true_label|y_true|labels?|true|truth|targets?|gt|one_?hot|ground_?truth"
ONE_HOT: Final = (
    re.compile(rf"(?:{_TRUTH})[ _.:\-\[(]+(?P<name>.+?)[\])]?", re.I),
    re.compile(rf"(?P<name>.+?)[ _.:\-\[(]+(?:{_TRUTH})[\])]?", re.I),
)


def plain_name(name: str) -> str:
    """A name without case and marks between words.

    >>> plain_name(" True Label")
    'true_label'
    """
    composed = normalize("NFC", name.casefold())  # a Mac decomposes accents
    return re.sub(r"[\W_]+", "_", composed).strip("_")
