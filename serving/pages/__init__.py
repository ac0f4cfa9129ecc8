"""HTML pages for people: self-contained, without scripts and without anything fetched from
elsewhere.
"""
