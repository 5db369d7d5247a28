"""Where packages run: images made without Docker, and targets, which render files that a person can read and apply them through the vendor's own client.

Stands beside the other stages; `app/deploy.py` and `app/image.py` join it with the store and the registries.
"""
