"""One file per framework: how its models are loaded, asked for their own answers and turned into variants. Found through `core/plugins.py`."""
