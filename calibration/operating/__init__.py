"""What a model gives at the thresholds in use, as labels show it: rates, net benefit and AUROC.

A question is one class against the others, or a finding: said or not, true or not. A rate is judged
by confidence sequences against what the card promises, so that it may be read every day.
"""
