"""Runs models: loading with golden replay, executors, statistics, and the data plane that every door of the server shares."""
