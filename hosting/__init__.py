"""What every process of Candor that listens is made of: settings, socket, Granian, access, errors.

`candor serve` and `candor monitor` stand on it, so that neither needs the other. It knows no page
and no model.
"""
