"""What the command line prints, one module per subject. Rooms return data; only this package
formats it.
"""
