"""Batching: requests that run together where the model's evidence says that a row's answer does not depend on its batch."""
