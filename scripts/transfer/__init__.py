"""scripts/bench_transfer.py: studies of what makes a model that learned in simulation work on real photographs.

A study (studies.py) is a list of cells: one training each, of one arm, model and seed. A cell (cells.py) renders, trains,
and measures on the columns (columns.py), which are sets of pictures. tables.py compares the arms (statistics.py), and holds
the paper's claims against them (claims.py).
"""
