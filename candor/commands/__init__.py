"""The command line's verbs, a file a noun: wiring alone. Each verb imports its rooms when it is called.

Results go to stdout, progress and logs to stderr.
"""
