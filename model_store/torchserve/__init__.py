"""What the TorchServe handler consists of. It travels inside the archive, so it imports nothing but
what is there.
"""
