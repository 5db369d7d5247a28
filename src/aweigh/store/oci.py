"""The OCI documents of a package: manifest and config as CNCF ModelPack has them. Used by `store`; pure functions of the package.

Spec: modelpack/model-spec docs/spec.md and docs/config.md; OCI image-spec manifest.md and image-layout.md. Holds no name, no version and no
time but the package's own: the same package gives the same digest whatever it is called.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from aweigh.core.errors import InvalidFile
from aweigh.core.names import Digest
from aweigh.core.oci import MANIFEST_TYPE, Descriptor
from aweigh.core.package import MANIFEST_FILE, PackageManifest

ARTIFACT_TYPE: Final = "application/vnd.cncf.model.manifest.v1+json"
CONFIG_TYPE: Final = "application/vnd.cncf.model.config.v1+json"
WEIGHT_TYPE: Final = "application/vnd.cncf.model.weight.v1.raw"
WEIGHT_CONFIG_TYPE: Final = "application/vnd.cncf.model.weight.config.v1.raw"
CODE_TYPE: Final = "application/vnd.cncf.model.code.v1.raw"
DATASET_TYPE: Final = "application/vnd.cncf.model.dataset.v1.raw"
DOC_TYPE: Final = "application/vnd.cncf.model.doc.v1.raw"
PACKAGE_TYPE: Final = "application/vnd.aweigh.package.v1+json"
FILE_PATH: Final = "org.cncf.model.filepath"

_CONFIG_SUFFIXES: Final = (".json", ".yaml", ".yml", ".toml", ".txt", ".vocab")
_FORMATS: Final = {"onnxruntime": "onnx", "reference": "onnx"}
_DAMAGED: Final = "the package is damaged: pack or pull it again"


class OciManifest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """An OCI image manifest that is a ModelPack artifact."""

    schema_version: int
    config: Descriptor
    layers: tuple[Descriptor, ...]
    media_type: str = ""
    artifact_type: str = ""
    annotations: dict[str, str] = {}

    def layer(self, media_type: str) -> Descriptor | None:
        """The first layer of that type, or None."""
        return next((layer for layer in self.layers if layer.media_type == media_type), None)


class _ModelDescriptor(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    created_at: str | None = None
    description: str | None = None
    revision: str | None = None
    licenses: tuple[str, ...] = ()


class _TechnicalConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    format: str | None = None
    precision: str | None = None


class _ModelFileSystem(msgspec.Struct, frozen=True, kw_only=True, rename={"diff_ids": "diffIds"}):
    type: str
    diff_ids: tuple[Digest, ...]


class ModelConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The config blob of ModelPack, with the fields that a package knows."""

    descriptor: _ModelDescriptor
    config: _TechnicalConfig
    modelfs: _ModelFileSystem


_MANIFEST: Final = msgspec.json.Decoder(OciManifest)


def layers_of(package: PackageManifest, document: Descriptor) -> tuple[Descriptor, ...]:
    """The layers of a package: `aweigh.json` first, then every file in the order of its path."""
    return (
        document,
        *(
            Descriptor(
                media_type=_layer_type(package, file.path), digest=file.digest, size=file.size_bytes, annotations={FILE_PATH: file.path}
            )
            for file in sorted(package.files, key=lambda file: file.path)
        ),
    )


def model_config(package: PackageManifest, layers: Sequence[Descriptor]) -> ModelConfig:
    """The ModelPack config: what is known of the model, and the digest of each layer's plain content (raw layers: its own)."""
    source = package.provenance
    runtime = package.variants[0].runtime if package.variants else ""
    return ModelConfig(
        descriptor=_ModelDescriptor(
            created_at=source.packed_at or None,
            description=package.description or None,
            revision=source.git_commit or None,
            licenses=(package.licence,) if package.licence else (),
        ),
        config=_TechnicalConfig(
            format=_FORMATS.get(runtime, runtime) or None,
            precision=",".join(dict.fromkeys(variant.precision for variant in package.variants)) or None,
        ),
        modelfs=_ModelFileSystem(type="layers", diff_ids=tuple(layer.digest for layer in layers)),
    )


def oci_manifest(config: Descriptor, layers: tuple[Descriptor, ...]) -> OciManifest:
    """The manifest of a ModelPack artifact."""
    return OciManifest(schema_version=2, media_type=MANIFEST_TYPE, artifact_type=ARTIFACT_TYPE, config=config, layers=layers)


def decode_oci_manifest(data: bytes, *, place: str) -> OciManifest:
    """Read a manifest. Raises InvalidFile when it is none."""
    try:
        return _MANIFEST.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidFile(f"{place}: not an OCI manifest: {error}", hint=_DAMAGED) from error


def package_layer(manifest: OciManifest, *, place: str) -> Descriptor:
    """The layer that holds `aweigh.json`. Raises InvalidFile when there is none."""
    document = manifest.layer(PACKAGE_TYPE)
    if document is None:
        raise InvalidFile(
            f"{place}: an OCI artifact without {MANIFEST_FILE}", hint="it was not made by aweigh: 'aweigh pack' the model itself"
        )
    return document


def check_layers(manifest: OciManifest, package: PackageManifest, *, place: str) -> None:
    """Raise InvalidFile unless the manifest's layers are exactly the files that `aweigh.json` lists."""
    layers: Mapping[str, tuple[Digest, int]] = {
        layer.annotations.get(FILE_PATH, ""): (layer.digest, layer.size) for layer in manifest.layers if layer.media_type != PACKAGE_TYPE
    }
    listed = {file.path: (file.digest, file.size_bytes) for file in package.files}
    if layers != listed:
        wrong = sorted(path for path in layers.keys() | listed.keys() if layers.get(path) != listed.get(path))
        raise InvalidFile(f"{place}: manifest and {MANIFEST_FILE} disagree about {', '.join(map(repr, wrong[:5]))}", hint=_DAMAGED)


def _layer_type(package: PackageManifest, path: str) -> str:
    if path in package.hooks.files:
        return CODE_TYPE
    if any(path == case.file for case in package.cases):
        return DATASET_TYPE
    if any(path in variant.files for variant in package.variants):
        return WEIGHT_CONFIG_TYPE if path.endswith(_CONFIG_SUFFIXES) else WEIGHT_TYPE
    return DOC_TYPE
