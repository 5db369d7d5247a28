"""Use cases, one file each: they join the stages and hold no decision of their own. Called by `cli` and by Python users."""
