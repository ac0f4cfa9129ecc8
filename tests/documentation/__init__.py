"""Every command of the documentation is run by a test, or `walks.py` says why it is not.

`commands.py` takes the commands out of a page. `walks.py` says for each page what a reader has
before, and which commands cannot run here. `script.py` types them into a shell, in the order of the
page. `spelling.py` looks at those that are not run: programs, verbs, options, files, targets and
extras that they name exist.
"""
