"""Packages on disk: an OCI image layout with ModelPack manifests, versions that count up, aliases, and blobs addressed by digest."""

from aweigh.store.archive import Archive, export_archive
from aweigh.store.checkup import Checkup, Finding
from aweigh.store.collect import GRACE_S, Collected
from aweigh.store.intake import Offer, Terms
from aweigh.store.package import StoredPackage
from aweigh.store.store import Store
from aweigh.store.summary import StoredVersion
from aweigh.store.transfer import Pushed, find_offer, push

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
