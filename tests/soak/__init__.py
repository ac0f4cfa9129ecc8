"""kill -9 of the server and of the database, at random moments under load; after each, everything is counted again."""
