"""What every pass that trains asks for before its libraries are needed, and the words in which it says what is missing."""

from aweigh.core.errors import Unsupported
from aweigh.core.package import Variant
from aweigh.optimization.passing import Need, PassJob

NEEDS = frozenset({Need.TRAINING, Need.SOURCE, Need.CALIBRATION})
"""Of passes that train the source itself."""


def check(job: PassJob, *, keras: bool = False) -> None:
    """Raise Unsupported that says what a person has to give for this."""
    if not job.train:
        raise Unsupported("it trains, with your own code", hint="give --train module:function")
    suffixes = (".keras", ".h5", ".hdf5")
    if not (job.source or (job.factory and not keras)):
        raise Unsupported(
            "it trains the source model, not what was packed",
            hint="give the .keras file with --source"
            if keras
            else "give the weights with --source FILE, and --class module:factory for what computes with them",
        )
    is_keras = job.source.lower().endswith(suffixes)
    if is_keras != keras:
        raise Unsupported(
            "the source is a Keras model" if is_keras else "the source is no .keras or .h5 file", hint="give the source with --source FILE"
        )
    if not job.calibration:
        raise Unsupported("it needs rows of real data, to tell whether the source is the package's", hint="give DATA, some hundred rows")
    if not _plain(job.variant):
        raise Unsupported("training begins with the source: what another pass has made is not trained again")


def _plain(variant: Variant) -> bool:
    return variant.precision in {"fp32", "fp16", "fp64", "native", "bf16"}
