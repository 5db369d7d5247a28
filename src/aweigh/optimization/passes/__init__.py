"""The passes: one file each, each a row of kind "pass" in `core/plugins.py`. A pass makes one form of a model out of another; whether that is kept is decided elsewhere."""
