"""Packages on disk: an OCI image layout with ModelPack manifests, versions that count up, aliases, and blobs addressed by digest."""

from aweigh.store.package import StoredPackage
from aweigh.store.store import Store, StoredVersion

__all__ = ["Store", "StoredPackage", "StoredVersion"]
