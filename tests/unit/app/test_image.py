"""What is said on the command line of images: places and bases."""

from pathlib import Path

import pytest

from aweigh.app.image import ImageOptions, base_address, make_image
from aweigh.core.errors import FileMissing, InvalidInput, Unsupported
from aweigh.core.settings import Settings

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("python:3.12-slim", "docker.io/library/python:3.12-slim"),
        ("team/base", "docker.io/team/base"),
        ("localhost/base:1", "localhost/base:1"),
        ("127.0.0.1:5000/base:1", "127.0.0.1:5000/base:1"),
        ("gcr.io/distroless/python3-debian12:nonroot", "gcr.io/distroless/python3-debian12:nonroot"),
        (f"python:3.12-slim@{DIGEST}", f"docker.io/library/python@{DIGEST}"),
        (f"localhost:5000/team/base:1@{DIGEST}", f"localhost:5000/team/base@{DIGEST}"),
        (f"team/base@{DIGEST}", f"docker.io/team/base@{DIGEST}"),
    ],
)
def test_bases_are_named_as_docker_names_them(text: str, means: str) -> None:
    assert str(base_address(text)) == means


@pytest.mark.parametrize(
    "text",
    ["", "a b", "python:3.12\nRUN true", "user:secret@registry.example/x", "../x", "oci", "-x/y", "a:b c@" + DIGEST, "a@", "a@sha256:0"],
)
def test_names_that_are_no_addresses(text: str) -> None:
    with pytest.raises(InvalidInput):
        base_address(text if text != "oci" else "oci:")


@pytest.mark.parametrize(
    "to", ["", "oci:", "docker-archive:", "oci:x:a b", "docker-archive:x.tar:Iris", "s3://bucket/x", "registry.example/x@sha256:00", "x"]
)
def test_places_are_checked_before_anything_is_opened(to: str) -> None:
    with pytest.raises(InvalidInput):
        make_image(Settings(home="/nowhere"), "absent", ImageOptions(to=to))


@pytest.mark.parametrize(
    ("to", "meant"),
    [("oci", "did you mean 'oci:…'?"), ("docker-archve:x.tar", "did you mean 'docker-archive:…'?"), ("Some Where", "oci:FOLDER")],
)
def test_a_misspelt_place_gets_the_places_that_there_are(to: str, meant: str) -> None:
    with pytest.raises(InvalidInput, match="is no place for an image") as caught:
        make_image(Settings(home="/nowhere"), "absent", ImageOptions(to=to))
    assert caught.value.hint.startswith(meant)


def test_what_cannot_be_written_or_signed_is_told_before_the_model_is_opened(tmp_path: Path) -> None:
    archive = f"docker-archive:{tmp_path}/x.tar"
    with pytest.raises(Unsupported, match="an archive holds one platform, and 2 are asked for"):
        make_image(Settings(home="/nowhere"), "absent", ImageOptions(to=archive, platforms="linux/amd64,linux/arm64"))
    with pytest.raises(FileMissing, match="does not exist"):
        make_image(Settings(home="/nowhere"), "absent", ImageOptions(to=archive, sign_key=str(tmp_path / "none.pem")))
