"""The edge of the API: how a route is declared (`endpoint`), and how JSON becomes a type and back
(`json_body`).
"""
