"""The examination of an installation: what `candor doctor` checks, and what to do about what it
finds.
"""
