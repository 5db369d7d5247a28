"""Trained file or live model -> proven package draft. `pack` is the verb; `recognise` tells what a file is without running any of it."""

from aweigh.packing.job import PackRequest
from aweigh.packing.pack import pack
from aweigh.packing.pipeline_file import is_pipeline_text, read_definition
from aweigh.packing.recognise import Recognised, recognise

__all__ = ["PackRequest", "Recognised", "is_pipeline_text", "pack", "read_definition", "recognise"]
