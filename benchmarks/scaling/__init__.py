"""What a thousand answers and labels cost on this machine, and what follows for up to a billion a
day.
"""
