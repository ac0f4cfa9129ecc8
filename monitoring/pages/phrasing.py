"""Parts of sentences in the reader's language: counts, tolerances, and which answers a figure is
about.
"""

from model_store.bundle.diagram import Speech
from model_store.lifecycle.canary import Canary
from monitoring.pages import language
from monitoring.pages.formatting import grouped
from monitoring.pages.language import N_, gettext, localized, ngettext

_SIDES = {"over": N_("overconfidence"), "under": N_("underconfidence")}
_RATES = {
    "accuracy": N_("accuracy"),
    "sensitivity": N_("sensitivity"),
    "specificity": N_("specificity"),
}
_FILES = {
    "reliability": N_("reliability"),
    "days": N_("days"),
    "gap": N_("gap"),
    "evidence": N_("evidence"),
    "course": N_("course of the evidence"),
    "slices": N_("slices"),
    "tags": N_("tags"),
    "measures": N_("measures"),
    "estimated": N_("estimated rates"),
    "expected-answers": N_("expected answers"),
    "versions": N_("versions"),
    "history": N_("history"),
}
_ACTIONS = {
    "published": N_("published"),
    "set": N_("set"),
    "rolled back": N_("rolled back"),
    "removed": N_("removed"),
    "retired": N_("retired"),
    "restored": N_("restored"),
    "collected": N_("collected"),
    "canary started": N_("canary started"),
    "canary changed": N_("canary changed"),
    "canary promoted": N_("canary promoted"),
    "canary aborted": N_("canary aborted"),
    "signed": N_("signed"),
}


def counted_labels(number: int) -> str:
    """A number of labels.

    >>> counted_labels(1), counted_labels(1234)
    ('1 label', '1,234 labels')
    """
    return ngettext("%(count)s label", "%(count)s labels", number) % {"count": grouped(number)}


def counted_answers(number: int) -> str:
    """A number of answers."""
    return ngettext("%(count)s answer", "%(count)s answers", number) % {"count": grouped(number)}


def tolerance(ratio: float) -> str:
    """A setting in percentage points, with no more decimals than it has.

    >>> tolerance(0.01), tolerance(0.025)
    ('1 point', '2.5 points')
    """
    number = localized(f"{100 * ratio:g}")
    return ngettext("%(number)s point", "%(number)s points", 1 if ratio == 0.01 else 2) % {
        "number": number
    }


def side(direction: str) -> str:
    """The direction of an error: "over" or "under"."""
    return gettext(_SIDES[direction])


def rate_title(title: str) -> str:
    """The name of an estimated rate, such as "sensitivity: pneumonia"."""
    rate, colon, name = title.partition(": ")
    return f"{gettext(_RATES[rate])}{colon}{name}"


def file_word(file: str) -> str:
    """What a file to download shows."""
    return gettext(_FILES[file])


def answers_in_slice(name: str) -> str:
    """The answers of a slice, by its name in the ledger.

    >>> answers_in_slice("predicted:pneumonia"), answers_in_slice("tag:site=A")
    ('answers of "pneumonia"', 'answers with site=A')
    """
    kind, _, value = name.partition(":")
    return answers_of(value) if kind == "predicted" else answers_with(value)


def answers_of(name: str) -> str:
    """The answers that name a class."""
    return gettext('answers of "%(name)s"') % {"name": name}


def answers_with(tag: str) -> str:
    """The answers with a tag."""
    return gettext("answers with %(tag)s") % {"tag": tag}


def answers_in_stream(stream: str, name: str | None) -> str:
    """The answers of one stream of the drift detector.

    >>> answers_in_stream("class", "pneumonia"), answers_in_stream("all", None)
    ('answers of "pneumonia"', 'all answers')
    """
    if stream == "class":
        return answers_of(name or "")
    if stream == "bin":
        return gettext("answers with a confidence in %(range)s") % {"range": localized(name or "")}
    return gettext("all answers")


def speech() -> Speech:
    """How diagrams speak to the reader."""
    return Speech(language.gettext, language.ngettext, language.localized)


def alias_word(alias: str) -> str:
    """The name of an alias; that of production in the reader's language."""
    return gettext("production") if alias == "production" else alias


def action_word(action: str) -> str:
    """What was done with a version, by the word of the model's history."""
    return gettext(_ACTIONS[action])


def canary_words(canary: Canary) -> str:
    """What a canary does, as the end of a sentence."""
    if canary.mode == "share":
        share = localized(f"{100 * canary.share:g} %")
        return gettext("answers %(share)s of the requests") % {"share": share}
    if canary.mode == "header":
        return gettext("answers requests with X-Candor-Canary: true")
    return gettext("computes beside production and is only recorded")
