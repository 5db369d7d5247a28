"""One file per load generator, each with a `Load`. `LOADS` is the table."""

from typing import Final

from bench.loads import h2load, wrk
from bench.loads.load import Load

LOADS: Final[dict[str, Load]] = {"rest": wrk.LOAD, "grpc": h2load.LOAD}
