"""Logged predictions: answers of models that Candor does not serve, recorded and watched like its
own.

A model is declared once (`declaration`), its answers are read (`body`), compared with what the
ledger knows of it, and written once however often they are sent (`prediction_log`).
"""
