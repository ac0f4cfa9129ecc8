"""Pages for people: self-contained HTML without scripts or anything fetched from elsewhere."""
