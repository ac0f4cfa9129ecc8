"""The parts of the pages that are generated, by name."""

import re
from collections.abc import Callable
from functools import partial
from typing import Final, get_args

from calibration.measures.table import Question
from docs.generators.command_line import command_line
from docs.generators.measures import measures
from docs.generators.routes import routes
from docs.generators.server import errors, metrics, settings

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
    """The page with what the code says in the place of each mark. Raises KeyError for a mark that
    nothing makes.
    """
    return MARK.sub(lambda found: GENERATORS[found[1]](), markdown)
