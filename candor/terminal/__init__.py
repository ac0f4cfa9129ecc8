"""What the command line prints, one module per subject. Only this package formats."""
