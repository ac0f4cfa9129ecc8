"""The cost of a loss and of an epoch on cached features; scope; the archive of Fashion-MNIST."""
