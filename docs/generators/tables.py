"""The parts of the pages that are generated, by name."""

import re
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Final, get_args

from calibration.measures.summary import MEASURES
from calibration.measures.table import Question
from docs.generators.command_line import command_line
from docs.generators.markdown import table
from docs.generators.routes import routes
from docs.generators.server import errors, metrics, settings


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


GENERATORS: Final[dict[str, Callable[[], str]]] = {
    "command-line": command_line,
    "errors": errors,
    **{f"measures-{question}": partial(measures, question) for question in get_args(Question)},
    "metrics": metrics,
    "routes": routes,
    "settings": settings,
}
MARK: Final = re.compile(r"^<!-- generated: ([\w-]+) -->$", re.MULTILINE)


def expand(markdown: str) -> str:
    """The page with what the code says in place of each mark. Raises KeyError."""
    return MARK.sub(lambda found: GENERATORS[found[1]](), markdown)
