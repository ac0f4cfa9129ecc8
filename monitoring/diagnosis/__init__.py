"""Who is affected, since when, why, and what to do: the facts of the labels, the watch and time."""
