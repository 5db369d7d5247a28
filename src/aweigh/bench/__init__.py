"""Load tests: a rate or so many users against a server, and what to believe of the figures. Joined by `app/bench.py`; knows no model."""
