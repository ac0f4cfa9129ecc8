"""The paper's experiments, and the choice of a method for one's own data.

variant.py    "dca+mixup x3 beta=10": a data set, network or method, and what it changes in a TrainConfig
cell.py       one training run of an experiment, kept on disk: what makes every experiment resumable
grid.py       data sets x networks x methods x seeds -> cells, computed in parallel
summary.py    cells -> measures by post-hoc calibrator, mean and interval over seeds
table.py      a table as text: terminal, Markdown, CSV
paper.py      the paper's own figures, its misprints marked
presets.py    grids with a name
compare.py    Tables 1, 2 and 3
"""
