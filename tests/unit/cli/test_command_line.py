"""The command line that a package keeps: nothing that would let its reader fetch what only its packer may."""

import pytest

from aweigh.cli.command_line import kept

PIN = "sha256=" + "0" * 64


@pytest.mark.parametrize(
    ("word", "stays"),
    [
        ("https://h/m.onnx?X-Amz-Signature=s3cret&X-Amz-Date=1", "'https://h/m.onnx?***'"),
        (f"https://h/m.onnx?sig=s3cret#{PIN}", f"'https://h/m.onnx?***#{PIN}'"),
        ("https://alice:s3cret@h:8443/m.onnx", "'https://***@h:8443/m.onnx'"),
        ("https://alice:s3@cret@h/m.onnx?s3cret?s3cret", "'https://***@h/m.onnx?***'"),
        ("--sample=https://s3cret@h/x.npy?sig=s3cret", "'--sample=https://***@h/x.npy?***'"),
        ("git+https://h/r.git@main#a/b?c", "'git+https://h/r.git@main#a/b?c'"),
        ("oci://h/r@sha256:00", "oci://h/r@sha256:00"),
        ("hf://owner/name@refs/pr/1", "hf://owner/name@refs/pr/1"),
        ("what?.onnx", "'what?.onnx'"),
        ("a@b", "a@b"),
    ],
)
def test_what_an_address_hides_is_not_kept(word: str, stays: str) -> None:
    said = kept(["pack", word, "--name", "m"])
    assert said == f"aweigh pack {stays} --name m"
    assert "s3cret" not in said
