"""The verbs of the command line, one file per noun. A verb imports what it needs when it runs, so
that help is quick.

Results go to stdout, notes and progress to stderr.
"""
