"""What travels beside an image, in the registry: the list of its parts (SPDX), where it came from (SLSA), signatures. Each names the image as its subject.

Spec: OCI image-spec 1.1 (subject, artifactType) and distribution-spec (referrers, and the tag for registries without them); SPDX 2.3; in-toto Statement v1 with
SLSA Provenance v1; cosign's signature format. Nothing of the clock or the machine is in the first two.
"""

import base64
import datetime as dt
import hashlib
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, cast

import msgspec

from aweigh import __version__
from aweigh.core.oci import INDEX_TYPE, MANIFEST_TYPE, Descriptor, encode
from aweigh.core.plugins import load
from aweigh.deploy.images.build import Image, ImageRequest, PlatformImage, describe
from aweigh.deploy.images.bytecode import version_of
from aweigh.deploy.images.documents import CONFIG_TYPE, EMPTY_TYPE, Config, Index, Manifest, RootFs
from aweigh.deploy.images.output import Attached

SPDX_TYPE: Final = "application/spdx+json"
INTOTO_TYPE: Final = "application/vnd.in-toto+json"
SIGNATURE_TYPE: Final = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGNATURE: Final = "dev.cosignproject.cosign/signature"
_COSIGN: Final = "application/vnd.dev.cosign.artifact.sig.v1+json"
_BUILD: Final = "urn:aweigh:image:1"
_EMPTY: Final = b"{}"


def documents_about(image: Image, request: ImageRequest, *, name: str, package: str, key_file: Path | None = None) -> list[Attached]:
    """The list of parts and the provenance of each platform's image; with a key, a signature of each and of the index over them."""
    found = []
    for each in image.platforms:
        found.append(_artifact(each.descriptor, SPDX_TYPE, _parts(each, name, request.epoch)))
        found.append(_artifact(each.descriptor, INTOTO_TYPE, _provenance(each, request, name, package)))
    if key_file is not None:
        signed = {each.digest: each for each in (image.descriptor, *(each.descriptor for each in image.platforms))}
        found += [_signature(each, key_file) for each in signed.values()]
    return found + _listed(found)


def _listed(attached: Sequence[Attached]) -> list[Attached]:
    """For registries without the referrers interface: an index per subject, under the tag that clients then look for."""
    by_subject: dict[str, list[Attached]] = {}
    for each in attached:
        by_subject.setdefault(each.subject, []).append(each)
    listed = []
    for subject, mine in by_subject.items():
        document = encode(Index(schema_version=2, media_type=INDEX_TYPE, manifests=tuple(each.descriptor for each in mine)))
        tag = subject.replace(":", "-")
        listed.append(Attached(subject=subject, manifest=document, descriptor=describe(document, INDEX_TYPE), blobs=(), tag=tag))
    return listed


def _artifact(subject: Descriptor, kind: str, document: dict[str, Any]) -> Attached:
    data = msgspec.json.encode(document, order="sorted")
    manifest = Manifest(
        schema_version=2,
        artifact_type=kind,
        config=describe(_EMPTY, EMPTY_TYPE),
        layers=(describe(data, kind),),
        subject=_plain(subject),
    )
    return _attached(subject, manifest, (_EMPTY, data))


def _attached(subject: Descriptor, manifest: Manifest, blobs: Sequence[bytes], *, tag: str = "") -> Attached:
    written = encode(manifest)
    descriptor = msgspec.structs.replace(describe(written, MANIFEST_TYPE), artifact_type=manifest.artifact_type)
    return Attached(subject=subject.digest, manifest=written, descriptor=descriptor, blobs=blobs, tag=tag)


def _plain(descriptor: Descriptor) -> Descriptor:
    return Descriptor(media_type=descriptor.media_type, digest=descriptor.digest, size=descriptor.size)


def _parts(image: PlatformImage, name: str, epoch: int) -> dict[str, Any]:
    """SPDX: the image, its base and every library in it."""
    said = f"{name} {image.platform} {image.descriptor.digest}"
    packages: list[dict[str, Any]] = [
        _package(
            "SPDXRef-image", name, image.descriptor.digest, digest=image.descriptor.digest.removeprefix("sha256:"), purpose="CONTAINER"
        ),
        _package("SPDXRef-base", "base", image.base.digest, digest=image.base.digest.removeprefix("sha256:"), purpose="CONTAINER"),
    ]
    packages += [
        _package(
            f"SPDXRef-python-{at}",
            each.name,
            each.version,
            digest=each.digest,
            purl=f"pkg:pypi/{each.name.lower().replace('_', '-')}@{each.version}",
        )
        for at, each in enumerate(image.libraries)
    ]
    related = [("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-image"), ("SPDXRef-image", "DESCENDANT_OF", "SPDXRef-base")]
    related += [("SPDXRef-image", "CONTAINS", package["SPDXID"]) for package in packages[2:]]
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": said,
        "documentNamespace": f"urn:aweigh:spdx:{hashlib.sha256(said.encode()).hexdigest()}",
        "creationInfo": {"created": _time(epoch), "creators": [f"Tool: aweigh-{__version__}"]},
        "packages": packages,
        "relationships": [{"spdxElementId": one, "relationshipType": how, "relatedSpdxElement": other} for one, how, other in related],
    }


def _package(identity: str, name: str, version: str, *, digest: str = "", purl: str = "", purpose: str = "LIBRARY") -> dict[str, Any]:
    found: dict[str, Any] = {
        "SPDXID": identity,
        "name": name,
        "versionInfo": version,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "primaryPackagePurpose": purpose,
    }
    if digest:
        found["checksums"] = [{"algorithm": "SHA256", "checksumValue": digest}]
    if purl:
        found["externalRefs"] = [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl}]
    return found


def _provenance(image: PlatformImage, request: ImageRequest, name: str, package: str) -> dict[str, Any]:
    """in-toto: what the image was made of, by what."""
    materials = [
        {"name": "base", "digest": _sha256(image.base.digest)},
        {"name": f"package {name}", "digest": _sha256(package)},
        *({"name": f"{each.name} {each.version}", "digest": {"sha256": each.digest}} for each in image.libraries if each.digest),
    ]
    inside = {
        "python": ".".join(map(str, image.inside.python)),
        "glibc": ".".join(map(str, image.inside.glibc)),
        "zlib": zlib.ZLIB_RUNTIME_VERSION,
        **({"compiler": version_of(image.interpreter)} if image.interpreter else {}),
    }
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": name, "digest": _sha256(image.descriptor.digest)}],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": _BUILD,
                "externalParameters": {"platform": str(image.platform), "epoch": request.epoch, "bytecode": request.bytecode},
                "internalParameters": inside,
                "resolvedDependencies": materials,
            },
            "runDetails": {"builder": {"id": "urn:aweigh:builder:local", "version": {"aweigh": __version__}}},
        },
    }


def _signature(subject: Descriptor, key_file: Path) -> Attached:
    payload = msgspec.json.encode(
        {
            "critical": {
                "identity": {"docker-reference": ""},
                "image": {"docker-manifest-digest": subject.digest},
                "type": "cosign container image signature",
            },
            "optional": None,
        }
    )
    signed = _sign(payload, key_file)
    layer = msgspec.structs.replace(describe(payload, SIGNATURE_TYPE), annotations={SIGNATURE: base64.b64encode(signed).decode()})
    config = encode(Config(architecture="", os="", rootfs=RootFs(type="layers", diff_ids=(layer.digest,))))
    manifest = Manifest(
        schema_version=2, artifact_type=_COSIGN, config=describe(config, CONFIG_TYPE), layers=(layer,), subject=_plain(subject)
    )
    return _attached(subject, manifest, (config, payload), tag=f"{subject.digest.replace(':', '-')}.sig")


def _sign(payload: bytes, key_file: Path) -> bytes:
    sign = cast("Callable[[bytes, Path], bytes]", load("signer", "ecdsa"))
    return sign(payload, key_file)


def _sha256(digest: str) -> dict[str, str]:
    return {"sha256": digest.removeprefix("sha256:")}


def _time(epoch: int) -> str:
    return dt.datetime.fromtimestamp(epoch, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
