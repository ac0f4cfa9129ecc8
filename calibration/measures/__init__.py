"""How well confidence and truth agree: measures from bin sums or labeled probabilities."""
