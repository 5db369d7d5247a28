"""The load test of the whole: aweigh beside a bare loop (and peers), in one run, as ratios. `python -m bench --help`."""
