"""The console: all pages, and `candor monitor`, the process that serves them without a model."""
