"""`kinestream bench`: how many cameras fit on this machine within a latency.

`stage.py` runs cameras on workers, `trial.py` judges what came of a number of them, `search.py` says which
number to try next, `cameras.py` is the program that stands for cameras. Not for: comparing Kinestream with
anything else; that is `bench/` in the repository.
"""
