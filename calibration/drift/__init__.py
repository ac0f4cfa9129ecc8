"""Sequential tests: the drift detector of labels, its onset, and the drift of predictions."""
