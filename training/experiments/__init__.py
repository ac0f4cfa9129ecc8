"""The paper's experiments, and the choice of a method for one's own data.

variant.py    "dca+mixup x3 beta=10": a data set, network or method, and what it changes in a TrainConfig
grid.py       data sets x networks x methods x seeds -> cells; presets.py: grids with a name
cell.py       one training run of an experiment, kept on disk: what makes every experiment resumable
trace.py      one run watched after every epoch, kept likewise
runner.py   computes the cells or traces that are missing, in parallel
summary.py    cells -> measures by post-hoc calibrator, mean and interval over seeds
table.py      a table as text; pictures.py: figures as PNGs; paper.py: the paper's own figures, misprints marked

compare.py    Tables 1, 2 and 3              curves.py    Figures 1 and 2
toy.py        Figure 3                       beta.py      Figures 4 and 5
choice.py     a method chosen by validation alone; select.py tells it; reference.py: or by a sample from elsewhere
"""
