"""The verbs of the command line. Each imports what it needs when it runs.

Results go to stdout, notes and progress to stderr.
"""
