"""Is an image like those that a model was made for? Scores, p-values and their evidence."""
