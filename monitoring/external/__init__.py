"""Predictions from elsewhere: answers of models that Candor does not serve, recorded and watched like its own.

A model is declared once (`card`), its answers are read (`body`), judged against what is known of it, and written once
however often they are sent (`log`).
"""
