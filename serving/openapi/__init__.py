"""The API's own description: an OpenAPI document at /openapi.json, and the same for people at /docs."""
