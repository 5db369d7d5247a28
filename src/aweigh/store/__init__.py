"""Packages on disk: an OCI image layout with ModelPack manifests, versions that count up, aliases, and blobs addressed by digest.

What carries packages elsewhere loads on first use: every worker of a server opens the store, and none of them needs it.
"""

import importlib
from typing import TYPE_CHECKING, Final

from aweigh.store.checkup import Checkup, Finding
from aweigh.store.collect import GRACE_S, Collected
from aweigh.store.intake import Offer, Terms
from aweigh.store.package import StoredPackage
from aweigh.store.store import Store
from aweigh.store.summary import StoredVersion

if TYPE_CHECKING:
    from aweigh.store.archive import Archive, export_archive
    from aweigh.store.transfer import Pushed, find_offer, push

_CARRIERS: Final = {"Archive": "archive", "export_archive": "archive", "Pushed": "transfer", "find_offer": "transfer", "push": "transfer"}
__all__ = [
    "GRACE_S",
    "Archive",
    "Checkup",
    "Collected",
    "Finding",
    "Offer",
    "Pushed",
    "Store",
    "StoredPackage",
    "StoredVersion",
    "Terms",
    "export_archive",
    "find_offer",
    "push",
]


def __getattr__(name: str) -> object:
    if name not in _CARRIERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_CARRIERS[name]}"), name)
