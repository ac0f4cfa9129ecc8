"""What the ledger's sums tell: windows, comparison with the card, slices, selective labels, signs before labels."""
