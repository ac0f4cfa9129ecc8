"""The paper's experiments: results are one list of rows, every table and figure is drawn from it.

grid.py      "dca beta=10": data sets x networks x methods x seeds -> cells
presets.py   named grids, and where their data sets are
study.py     trains the cells that are missing; a row for each cell, split and calibrator
tables.py    Tables 1, 2 and 3, beside the figures of paper.py
figures.py   Figures 1, 2, 4 and 5; toy.py: Figure 3
"""
