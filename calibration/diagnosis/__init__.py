"""Who changed, since when, why, and what a remedy would do to whom: inference of facts."""
