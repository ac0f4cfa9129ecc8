"""The commands of the documentation: read from pages, checked for their spelling, and typed.

`spelling.py` looks at the commands of every page. `walks.py` says how those of README, first steps,
tutorials and guides are typed; `script.py` types them into a shell.
"""
