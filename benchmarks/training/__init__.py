"""What a loss costs, as a share of a training step."""
