"""The monitoring room: answers and labels go into a ledger, which shows whether confidence is still
true.

An answer goes `recording -> ledger`. A label goes `routes -> recording -> feedback -> ledger ->
drift -> metrics`. Nothing here reads an image, runs a network or knows which server answered.
"""
