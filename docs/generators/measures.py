"""What each measure means, by the question that it answers: from the entries of
`calibration.measures.summary.MEASURES`.
"""

from collections import defaultdict

from calibration.measures.summary import MEASURES
from calibration.measures.table import Question
from docs.generators.markdown import table


def measures(question: Question) -> str:
    """Return the table of the measures that answer a question, in their order."""
    names: dict[str, list[str]] = defaultdict(list)
    for measure in MEASURES:
        names[measure.documented_with or measure.name].append(f"`{measure.name}`")
    rows = (
        (
            ", ".join(names[measure.name]),
            f"{measure.text} {measure.more}".strip(),
            measure.range,
            measure.misleads,
            measure.formula,
            measure.source,
        )
        for measure in MEASURES
        if measure.question == question and measure.formula
    )
    return table(("measure", "meaning", "range", "misleads when", "formula", "source"), rows)
