"""Scenes in which a conclusion could mislead, built and judged from outside."""
