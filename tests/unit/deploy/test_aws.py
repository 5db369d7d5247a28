"""What is rendered for AWS's own formats: names that stand in commands, archives as Lambda reads them, libraries that its machines cannot load."""

import dataclasses
import struct
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from tests.unit.deploy.jobs import CAPACITY, DIGEST, IMAGE, job, render, target
from tests.unit.deploy.test_applying import Told

from aweigh.core.errors import InvalidInput
from aweigh.deploy.elf import glibc_of, is_elf, machine_of
from aweigh.deploy.target import Scale, foreseen
from aweigh.deploy.targets.aws_lambda import LambdaOptions, check_archive
from aweigh.deploy.zipped import zipped

ROLE = "arn:aws:iam::123456789012:role/models"
LIBRARY = Path(sys.executable).resolve()


def library(glibc: str = "GLIBC_2.30", machine: int = 62) -> bytes:
    """The least ELF that needs a version of glibc."""
    strings = b"\0" + glibc.encode() + b"\0"
    need = struct.pack("<HHIII", 1, 1, 0, 16, 0) + struct.pack("<IHHII", 0, 0, 0, 1, 0)
    start = 64
    sections = start + len(strings) + len(need)
    header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 3, machine, 1, 0, 0, sections, 0, 64, 0, 0, 64, 2, 0)
    table = struct.pack("<IIQQQQIIQQ", 0, 3, 0, 0, start, len(strings), 0, 0, 1, 0)
    table += struct.pack("<IIQQQQIIQQ", 0, 0x6FFFFFFE, 0, 0, start + len(strings), len(need), 0, 1, 4, 0)
    return header + strings + need + table


def test_what_a_library_needs_is_read_from_itself() -> None:
    data = library()
    assert (is_elf(data), machine_of(data), glibc_of(data)) == (True, "x86_64", (2, 30))
    assert machine_of(library(machine=183)) == "aarch64"
    assert glibc_of(library("GCC_3.0")) == (0, 0)
    assert glibc_of(data[:70]) == (0, 0)
    real = LIBRARY.read_bytes()
    assert (2, 2) < glibc_of(real) < (3, 0)


def test_the_archive_is_read_as_lambda_would() -> None:
    options = LambdaOptions()
    assert check_archive(zipped({"run.py": b"", "lib/a.so": library()}), options) == []
    found = check_archive(zipped({"run.py": b"", "lib/a.so": library("GLIBC_2.38")}), options)
    assert [each.message for each in found] == ["needs glibc 2.38; python3.12 of Lambda has 2.34"]
    found = check_archive(zipped({"run.py": b"", "lib/a.so.1": library()}), LambdaOptions(architecture="arm64"))
    assert [each.message for each in found] == ["is for x86_64, the function for aarch64"]
    assert "run.py is missing" in check_archive(zipped({"a": b""}), options)[0].message
    found = check_archive(zipped({"run.py": b"", "model": bytes(251 * 2**20)}), options)
    assert [each.message for each in found] == ["251 MB unpacked: a function from an archive may have 250 MB"]


def test_archives_of_the_same_files_are_the_same() -> None:
    assert zipped({"a": b"1", "b": LIBRARY}) == zipped({"b": LIBRARY, "a": b"1"})


ECR = f"123456789012.dkr.ecr.eu-west-1.amazonaws.com/fraud@{DIGEST}"


def image(folder: Path, **options: str) -> Any:
    one = job(folder, "lambda", image=ECR, set_={"package": "image", **options})
    rendered = render(folder / "out", "lambda", one)
    assert target("lambda").check(folder / "out", one) == []
    return rendered, yaml.safe_load((folder / "out/template.yaml").read_bytes())["Resources"]["Function"]["Properties"]


def test_a_function_from_an_image(tmp_path: Path) -> None:
    rendered, function = image(tmp_path, role=ROLE, memory_mib="1769", provisioned="2", url="none")
    assert (function["PackageType"], function["ImageUri"], function["Role"]) == ("Image", ECR, ROLE)
    assert function["ProvisionedConcurrencyConfig"] == {"ProvisionedConcurrentExecutions": 2}
    assert "1.00 of a processor" in rendered.notes[0]
    assert "Runtime" not in function
    assert any("kept ready" in line for line in rendered.costs)
    rendered, function = image(tmp_path)
    assert "Role" not in function
    assert not any("kept ready:" in line for line in rendered.costs)


@pytest.mark.parametrize(
    ("address", "region", "said"),
    [
        (IMAGE, "", "the image lies at registry.example:5000: a function takes it from"),
        (ECR, "us-east-1", "the image lies in eu-west-1, and the function in us-east-1"),
    ],
)
def test_images_are_in_the_registry_of_the_function_s_region(tmp_path: Path, address: str, region: str, said: str) -> None:
    one = job(tmp_path, "lambda", image=address, set_={"package": "image", "region": region})
    render(tmp_path / "out", "lambda", one)
    (found,) = target("lambda").check(tmp_path / "out", one)
    assert found.fatal
    assert found.message.startswith(said)


def test_a_function_has_some_memory(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="128 MB at least, not 100"):
        target("lambda").render(job(tmp_path, "lambda", image=ECR, set_={"package": "image", "memory_mib": "100"}))


def test_less_memory_is_less_of_a_processor_and_so_a_longer_request(tmp_path: Path) -> None:
    """A million requests of 5 ms with a whole core: at 885 MiB 9.995, rounded up to 10 ms, 10 000 s x 885/1024 GiB."""
    slow = dataclasses.replace(
        job(tmp_path, "lambda", set_={"package": "image", "memory_mib": "885"}, scale=Scale()),
        capacity=msgspec.structs.replace(CAPACITY, latency_ms=5.0),
    )
    assert target("lambda").render(slow).costs[2].startswith("memory while answering: 8,643 GiB-s")


def test_what_the_two_files_say_must_agree(tmp_path: Path) -> None:
    image(tmp_path)
    one = job(tmp_path, "lambda", image=ECR, set_={"package": "image"})
    path = tmp_path / "out/template.yaml"
    path.write_text(path.read_text().replace("MemorySize: 512", "MemorySize: 64"))
    assert "MemorySize is 64, in function.json 512" in target("lambda").check(tmp_path / "out", one)[0].message


@pytest.mark.parametrize("options", [{"region": "x; y"}, {"role": "arn:aws:iam::1:role/x"}, {"bucket": "--acl"}, {"region": "eu-west-1\n"}])
def test_what_stands_in_commands_is_looked_at(tmp_path: Path, options: dict[str, str]) -> None:
    with pytest.raises(InvalidInput):
        target("lambda").render(job(tmp_path, "lambda", set_={"package": "image", **options}))


def test_an_image_needs_an_address(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="needs the address of one"):
        target("lambda").render(job(tmp_path, "lambda", image="", set_={"package": "image"}))


def test_what_a_failed_apply_leaves_is_known_before(tmp_path: Path) -> None:
    (tmp_path / "function.json").write_text('{"FunctionName": "fraud"}')
    facts = foreseen(target("lambda"), tmp_path, job(tmp_path, "lambda", set_={"region": "eu-west-1"}))
    told = Told()
    target("lambda").remove(facts, tmp_path, told)
    assert any(words.startswith("aws lambda delete-function --function-name fraud") for words in told.words)
    assert any(words.startswith("aws iam delete-role --role-name fraud-lambda") for words in told.words)
    own = {"region": "eu-west-1", "role": "arn:aws:iam::123456789012:role/mine"}
    assert foreseen(target("lambda"), tmp_path, job(tmp_path, "lambda", set_=own))["role"] == ""
