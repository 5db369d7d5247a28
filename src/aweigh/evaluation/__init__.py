"""Judges packages on data with known answers: metrics with intervals, slices, candidates beside each other. Called by `app`; loads no model itself."""

from aweigh.evaluation.evaluate import Candidate, Question, evaluate

__all__ = ["Candidate", "Question", "evaluate"]
