"""Signatures of images as cosign makes and reads them: "simple signing" of a manifest's digest by an ECDSA key. Backend of `attach`, for `cryptography`.

Spec: cosign SIGNATURE_SPEC.md; containers/image signature format "simple signing".
"""

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from aweigh.core.errors import FileMissing, InvalidFile


def sign(payload: bytes, key_file: Path) -> bytes:
    """The signature of a payload, DER: the same each time, where OpenSSL can (RFC 6979, since 3.2). Raises FileMissing, InvalidFile for a key that is none, or has a password."""
    key = _key(key_file)
    try:
        return key.sign(payload, ec.ECDSA(SHA256(), deterministic_signing=True))
    except UnsupportedAlgorithm:
        return key.sign(payload, ec.ECDSA(SHA256()))


def _key(file: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(file.read_bytes(), password=None)
    except FileNotFoundError:
        raise FileMissing(f"the key {file} does not exist", hint="check --sign-key") from None
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InvalidFile(
            f"{file} is no private key that can be used: {error}",
            hint="a PEM file without a password: openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt",
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise InvalidFile(f"{file} is no ECDSA key on the curve P-256", hint="cosign's keys are: openssl ecparam -name prime256v1 -genkey")
    return key
