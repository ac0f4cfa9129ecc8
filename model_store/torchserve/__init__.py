"""The TorchServe handler. It travels in the archive, and imports only what is there."""
