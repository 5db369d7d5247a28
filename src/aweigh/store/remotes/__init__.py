"""Places elsewhere that keep packages, one file per kind. Each is a `core.protocols.Remote`, found by its scheme in the plug-in table."""

from aweigh.store.remotes.access import Access
from aweigh.store.remotes.address import Address, parse_address, split_port

__all__ = ["Access", "Address", "parse_address", "split_port"]
