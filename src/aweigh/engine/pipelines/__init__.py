"""Pipelines: packages whose steps are other packages, Python functions and built-in combinations. A pipeline is served as any model is."""
