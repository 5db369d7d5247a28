"""Compile src/aweigh/protos/*.proto into protocols.binpb (`make protos`), or tell whether it is fresh (`--check`)."""

import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

FOLDER = Path(__file__).resolve().parent.parent / "src/aweigh/protos"
COMPILED = FOLDER / "protocols.binpb"


def compile_protos() -> bytes:
    """The descriptor set of every .proto file, in the order of their names."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "protocols.binpb"
        names = sorted(path.name for path in FOLDER.glob("*.proto"))
        code = protoc.main(["protoc", f"--proto_path={FOLDER}", f"--descriptor_set_out={out}", "--include_imports", *names])
        if code:
            raise SystemExit(code)
        return out.read_bytes()


def main() -> int:
    """Write the compiled file, or compare it."""
    made = compile_protos()
    if "--check" not in sys.argv:
        COMPILED.write_bytes(made)
    elif COMPILED.read_bytes() != made:
        print("src/aweigh/protos/protocols.binpb is older than its .proto files: run `make protos`")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
