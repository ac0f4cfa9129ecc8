"""The description of the API: an OpenAPI document at /openapi.json, and the same as a page at
/docs.
"""
