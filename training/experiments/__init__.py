"""The paper's experiments, and the choice of a method for your own data.

variant.py    "dca+mixup x3 beta=10": a data set, network or method, and its changes of a
TrainConfig grid.py       data sets x networks x methods x seeds -> cells; presets.py: named grids
cell.py       one training run of an experiment, kept on disk, so every experiment can be resumed
trace.py      one run measured after every epoch, kept in the same way
runner.py     computes missing cells or traces in parallel
summary.py    cells -> measures by calibrator, mean and interval over seeds
table.py      a table as text; pictures.py: plots; paper.py: the paper's figures and its misprints

compare.py    Tables 1, 2 and 3 (averages.py: their averages; paired.py: differences against
cross-entropy by seed) curves.py     Figures 1 and 2; toy.py: Figure 3; beta.py: Figures 4 and 5
choice.py     the choice of a method by validation alone; select.py: its report; reference.py: a
sample as validation
"""
