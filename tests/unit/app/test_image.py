"""What is said on the command line of images: places and bases."""

import pytest

from aweigh.app.image import ImageOptions, base_address, make_image
from aweigh.core.errors import InvalidInput
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
