"""What "calibrated" means, in NumPy alone: measures, calibrators, intervals, drift.

No I/O, no clock, no torch, no web. All other packages build on this one, so the card written after
training and the report computed from live labels are the same arithmetic on the same sums.
"""

DISTRIBUTION = "candor-calibration"  # what pip calls Candor: decision 40
