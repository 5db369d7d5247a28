"""One file per server that can be timed, each with a `Peer`. `PEERS` is the table; a new server is a new file and a new row."""

from typing import Final

from bench.peers import aweigh, bare_loop, memcpy
from bench.peers.peer import Peer

PEERS: Final[dict[str, Peer]] = {"bare-loop": bare_loop.PEER, "aweigh": aweigh.PEER, "memcpy": memcpy.PEER}
