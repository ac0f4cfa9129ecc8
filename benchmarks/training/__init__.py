"""Losses of findings; scope; the archive of Fashion-MNIST."""
