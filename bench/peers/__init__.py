"""One file or folder per server that can be timed, each with its `Peer`s. `PEERS` is the table; a new server is a new file and new rows.

`ONE_WORKER` and `TWO_CORES` are what `--peers` compares by default.
"""

from typing import Final

from bench.peers import aweigh, bare_loop, bentoml, fastapi, grpcio, litserve, memcpy, mlserver, ray
from bench.peers.peer import Peer

ONE_WORKER: Final = (
    aweigh.PEER,
    aweigh.UNBATCHED,
    bare_loop.PEER,
    mlserver.ONE,
    fastapi.ONE,
    litserve.ONE,
    bentoml.ONE,
    ray.ONE,
    grpcio.ONE,
)
TWO_CORES: Final = (aweigh.TWO, mlserver.TWO, fastapi.TWO, litserve.TWO, bentoml.TWO, ray.TWO)
PEERS: Final[dict[str, Peer]] = {peer.name: peer for peer in (*ONE_WORKER, *TWO_CORES, memcpy.PEER)}
