"""Documents about an image under tags that are everybody's: what others put there stays, and ours is added to it. Used by `output`; pure.

Spec: distribution-spec 1.1, "Referrers Tag Schema" (pull, append, push); cosign SIGNATURE_SPEC.md, which appends a layer per signature.
"""

import msgspec

from aweigh.core.oci import INDEX_TYPE, Descriptor, encode
from aweigh.deploy.images.build import describe
from aweigh.deploy.images.documents import CONFIG_TYPE, INDEX_TYPES, Config, Index, Manifest, RootFs, decode


def join_documents(ours: bytes, there: bytes, media_type: str, *, place: str) -> tuple[bytes, str, tuple[bytes, ...]]:
    """What is to stand under the tag, its media type, and the blobs that it needs anew; `there` itself where it has all of ours.

    Raises InvalidFile where what is there is of another kind.
    """
    return _indexes(ours, there, place) if media_type in INDEX_TYPES else _signatures(ours, there, place)


def _indexes(ours: bytes, there: bytes, place: str) -> tuple[bytes, str, tuple[bytes, ...]]:
    before = decode(there, Index, place=place)
    kind = before.media_type or INDEX_TYPE
    known = {each.digest for each in before.manifests}
    new = tuple(each for each in decode(ours, Index, place=place).manifests if each.digest not in known)
    if not new:
        return there, kind, ()
    return encode(msgspec.structs.replace(before, manifests=(*before.manifests, *new))), kind, ()


def _signatures(ours: bytes, there: bytes, place: str) -> tuple[bytes, str, tuple[bytes, ...]]:
    before = decode(there, Manifest, place=place)
    known = {_said(each) for each in before.layers}
    new = tuple(each for each in decode(ours, Manifest, place=place).layers if _said(each) not in known)
    if not new:
        return there, before.media_type, ()
    layers = (*before.layers, *new)
    config = encode(Config(architecture="", os="", rootfs=RootFs(type="layers", diff_ids=tuple(each.digest for each in layers))))
    return encode(msgspec.structs.replace(before, layers=layers, config=describe(config, CONFIG_TYPE))), before.media_type, (config,)


def _said(layer: Descriptor) -> tuple[str, tuple[tuple[str, str], ...]]:
    """What tells a signature from another: all of an image have the same payload, and the signature is beside it."""
    return layer.digest, tuple(sorted(layer.annotations.items()))
