"""One file per target; `core/plugins.py` has its row. Each builds data and hands it to an emitter: a name can never change the structure of a file."""
