"""Models with versions and aliases, in a folder or at an address that fsspec knows."""
