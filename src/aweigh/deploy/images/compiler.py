"""Compiles modules for an image. Run as a script by the image's own version of Python, with nothing of aweigh; standard library only.

Reads frames from stdin (path, source) and writes frames to stdout (path, bytecode), in the same order; what cannot be compiled is left out,
as it is by every installer. The files say that they belong to their source and need not be compared with it (PEP 552, unchecked-hash).
"""

import importlib.util
import marshal
import struct
import sys

_UNCHECKED = 0b01


def main() -> None:
    """From stdin to stdout."""
    source, out = sys.stdin.buffer, sys.stdout.buffer
    while head := source.read(8):
        name_bytes, size_bytes = struct.unpack("<II", head)
        name, text = source.read(name_bytes), source.read(size_bytes)
        try:
            code = compile(text, "/" + name.decode(), "exec", dont_inherit=True, optimize=0)
        except (SyntaxError, ValueError):
            continue  # written for another Python: nobody can import it here
        data = importlib.util.MAGIC_NUMBER + struct.pack("<I", _UNCHECKED) + importlib.util.source_hash(text) + marshal.dumps(code)
        out.write(struct.pack("<II", len(name), len(data)) + name + data)
        del code


if __name__ == "__main__":
    main()
