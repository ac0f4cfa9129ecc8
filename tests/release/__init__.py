"""What a release must pass beyond the tests: see __main__.py."""
