"""How well confidence and truth agree: measures from bin sums, or from probabilities with labels."""
