"""Tools that optimise a part of what `aweigh optimize` does, each run alone on the same file: same rows to calibrate with, same rows to judge by, same budget."""
