"""An encoded image as the server holds it."""

from typing import TypeAlias

# A large body is a view of the memory into which the system read it.
Encoded: TypeAlias = bytes | memoryview
