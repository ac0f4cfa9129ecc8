"""What the defaults give, beside the head that a careful person fits on the same features."""
