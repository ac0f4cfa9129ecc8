"""The command line, what it prints, and the demonstration; every other package is a room of its own."""
