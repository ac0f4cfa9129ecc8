"""The paper's experiments, and the choice of a method for your own data.

grid.py       "dca x3 beta=10": a data set, network or method; data sets x networks x methods x
              seeds -> cells
presets.py    named grids, and where their data sets are
cell.py       one training run, kept on disk, so every experiment can be resumed; trace.py: one run
              measured after every epoch; runner.py: computes what is missing in parallel
summary.py    cells -> measures by calibrator, mean and interval over seeds; table.py: as text
compare.py    Tables 1, 2 and 3, beside the figures of paper.py
figures.py    Figures 1, 2, 4 and 5; toy.py: Figure 3; pictures.py draws them
select.py     a method for your own data by choice.py, on validation
"""
