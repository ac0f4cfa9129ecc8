"""HTML pages for people, which load nothing from elsewhere."""
