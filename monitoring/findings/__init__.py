"""What the ledger's sums show: windows, comparison with the card, slices, selective labels and
early warnings.
"""
