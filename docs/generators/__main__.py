"""`python -m docs.generators NAME` prints a generated part without building the site."""

import sys

from docs.generators.tables import GENERATORS

if sys.argv[1:] and sys.argv[1] in GENERATORS:
    print(GENERATORS[sys.argv[1]]())  # noqa: T201
else:
    sys.exit(f"name one of: {', '.join(GENERATORS)}")
