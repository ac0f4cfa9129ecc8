"""The monitoring room: predictions and labels go into a ledger, and out of it comes whether confidence is still true.

A prediction walks `recorder -> ledger`; a label walks `routes -> feedback -> ledger -> watch -> metrics`.
Nothing here reads an image, runs a network or knows who serves.
"""
