"""What a card says of its findings, as rows for the model card and the command line."""

from collections.abc import Iterator, Sequence

from calibration.findings.calibrator import FEWEST_POSITIVES
from calibration.wording import percent, percents, some
from model_store.bundle.finding_card import FindingCard, Rate

MEASURED = (
    *("finding", "labeled", "with it", "calibrator", "AUROC", "ECE", "floor"),
    "observed / expected",
)
POINTS = (
    "finding",
    "present from",
    "chosen by",
    "sensitivity",
    "specificity",
    "PPV",
    "to a person",
)


def measured(findings: Sequence[FindingCard]) -> Iterator[list[str]]:
    """Yield how good and how calibrated each finding is: the columns MEASURED."""
    for each in findings:
        calibration, bias = each.calibration, (each.calibration.class_bias or (0.0, 0.0))[1]
        fitted = f"temperature {calibration.temperature:.3g}, bias {bias:+.3g}"
        yield [
            each.name,
            f"{each.labeled:,}",
            f"{each.positives:,}",
            "none" if calibration.method == "none" else fitted,
            _figure(each.measures.get("auroc")),
            percent(each.measures.get("ece")),
            percent(each.measures.get("ece_floor")),
            _figure(each.measures.get("observed_expected")),
        ]


def points(findings: Sequence[FindingCard]) -> Iterator[list[str]]:
    """Yield what each threshold gives: the columns POINTS."""
    for each in findings:
        rule, promise, sets = each.rule, each.promise, each.conformal
        yield [
            each.name,
            percent(each.threshold, 2),
            rule.kind if rule.value is None else f"{rule.kind}={rule.value:g}",
            *map(rate_text, (promise.sensitivity, promise.specificity, promise.ppv)),
            "-" if sets is None else percent(sets.mean_set_size - 1),
        ]


def unfitted(findings: Sequence[FindingCard]) -> Iterator[str]:
    """Name the findings whose labels were too few."""
    few = [
        each.name
        for each in findings
        if each.calibration.method == "none" and each.rule.kind == "half"
    ]
    if few:
        yield (
            f"No calibrator, and present from 50 %: {some(few, 12)}. A calibrator and a threshold "
            f"take {FEWEST_POSITIVES} images with the finding, and as many without it, whose "
            "labels determine them."
        )


def notes(findings: Sequence[FindingCard]) -> Iterator[str]:
    """The same, and what sets promise."""
    yield from unfitted(findings)
    shares = sorted({each.conformal.alpha for each in findings if each.conformal})
    if not shares:
        return
    missed = " or ".join(percent(share, 0) for share in shares)
    yield (
        "The last column is the share of answers that a person should look at. Of the images with "
        f"a finding, at most {missed} are answered absent without that, and of those without it, "
        f"at most {missed} present."
    )


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def rate_text(rate: Rate | None) -> str:
    """Return a rate with its interval.

    >>> rate_text(Rate(value=0.9, lower=0.8, upper=0.95, n=60)), rate_text(None)
    ('90.0 % (80.0 to 95.0 %)', '-')
    """
    return "-" if rate is None else f"{percent(rate.value)} ({percents(rate.lower, rate.upper)})"
