"""`python -m candor`: the command line."""

from candor.command_line import main

main()
