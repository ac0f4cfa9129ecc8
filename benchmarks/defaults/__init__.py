"""What a stranger gets with the defaults, beside the head that a careful person fits by hand on the
same features.
"""
