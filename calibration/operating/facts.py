"""The facts about operating points, each a code with its numbers; times are seconds since 1970."""

from dataclasses import dataclass
from enum import StrEnum

from calibration.diagnosis.facts import AnswerGroup
from calibration.diagnosis.groups import ALL
from calibration.measures.estimates import IntervalEstimate

ENOUGH_CASES = 20  # of a tag, from which its rate is shown though it is not lower


class RateName(StrEnum):
    """Sensitivity: said among the true; specificity: not said among the others; PPV: true among
    the said.
    """

    SENSITIVITY = "sensitivity"
    SPECIFICITY = "specificity"
    PPV = "ppv"


class RateStanding(StrEnum):
    """Whether a rate is what the card promises."""

    LOWER = "lower"  # below the card's interval, beyond chance: an alarm
    AS_PROMISED = "as_promised"  # not below that interval by a factor of 2 in odds
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Promise:
    """What the card's reference showed, with its 95 % interval; `n` images tell it."""

    value: float
    lower: float
    upper: float
    n: int


@dataclass(frozen=True)
class LiveRate:
    """A rate of a class or finding, in all answers or in those with one tag.

    Attributes:
        of: the class, or `present` of a finding.
        n: labeled answers that tell it: true ones for sensitivity, said ones for PPV.
        rate: among them, each patient counting once; the interval holds at every look.
        since_s: when the oldest answer of these was served; None: all. Set where only later labels
            show a fall.
        as_served: at the weights of the answers served, if labels may have been chosen (Begg and
            Greenes 1983); NaN otherwise, or where too many kinds of answers have no label.
        promise: None if the card has none.
        more: how many more such answers it takes until a fall to half the odds would be known, in
            nine of ten streams; `more_labels`: labels until so many of them have come. 0: enough.
    """

    name: RateName
    of: str
    group: AnswerGroup
    standing: RateStanding
    n: int
    rate: IntervalEstimate
    since_s: float | None
    as_served: float
    promise: Promise | None
    more: int
    more_labels: int


@dataclass(frozen=True)
class NetBenefit:
    """True positives less false alarms at an exchange rate, per answer (Vickers and Elkin 2006).

    Attributes:
        exchange: how many false alarms one case found is worth.
        in_use: whether the threshold in use is the best one at this rate for true probabilities. Of
            the most probable of several classes it is 1: all errors weigh the same.
        said: of the answers as said; the interval holds at every look. NaN: not known.
        moved: if said from the probability 1 / (1 + exchange) on; NaN without probabilities.
        everyone: of saying it of everyone; of no one it is 0.
    """

    of: str
    exchange: float
    in_use: bool
    said: IntervalEstimate
    moved: float
    everyone: float


@dataclass(frozen=True)
class PeriodAuroc:
    """AUROC of answers served in a period; 95 % interval for one look."""

    of: str
    since_s: float
    until_s: float
    n: int
    positives: int
    auroc: IntervalEstimate


@dataclass(frozen=True)
class OperatingPoints:
    """What labels show of a version at its thresholds.

    Attributes:
        labels: on which all of it rests: drawn at random if `audit`.
        is_chosen: whether labels may have been chosen by outcome.
        chance: largest probability that any rate is ever called lower although none is below the
            card's interval; over all findings of a version.
        rates: those that are lower first, then of all answers, then by tag, the lowest first.
        net_benefits: by class, exchange rates ascending.
        aurocs: by class, periods ascending, with equally many of the rarer outcome.
    """

    labels: int
    audit: bool
    is_chosen: bool
    chance: float
    rates: tuple[LiveRate, ...]
    net_benefits: tuple[NetBenefit, ...]
    aurocs: tuple[PeriodAuroc, ...]
    auroc_promised: dict[str, float]

    @property
    def lower(self) -> tuple[LiveRate, ...]:
        """The rates that are lower than promised."""
        return tuple(each for each in self.rates if each.standing is RateStanding.LOWER)

    @property
    def shown(self) -> tuple[LiveRate, ...]:
        """The rates of all answers, those that are lower, and those of a tag with enough cases."""
        return tuple(
            each
            for each in self.rates
            if each.group.key == ALL or each.n >= ENOUGH_CASES or each in self.lower
        )
