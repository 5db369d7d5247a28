"""Trained file or live model -> proven package draft. `pack` is the verb; `recognise` tells what a file is without running any of it."""

from aweigh.packing.job import PackRequest
from aweigh.packing.pack import pack
from aweigh.packing.recognise import Recognised, recognise

__all__ = ["PackRequest", "Recognised", "pack", "recognise"]
