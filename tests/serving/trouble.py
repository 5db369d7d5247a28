"""A package whose hook misbehaves on magic inputs: the null runtime behind Python that loops, crashes, leaks or leaves. For tests of isolation.

`TROUBLES` maps a name to the number that asks for it, second in a row that begins with MAGIC; 0 is no trouble. The third number is for how long, where that matters.
"""

from pathlib import Path

import numpy as np

from aweigh.core.compare import compare
from aweigh.core.golden import GoldenAnswers, golden_files
from aweigh.core.package import FORMAT_VERSION, Hooks, PackageManifest, Provenance, Variant
from aweigh.core.signature import BATCH, Signature, TensorSpec
from aweigh.core.tensors import Datatype
from aweigh.runtimes.process import ProcessRuntime
from aweigh.testing import RuntimeSample

HOOK = """
import ctypes, os, sys, time
import numpy as np

class Gone(BaseException):
    pass

def deeper():
    return deeper() + 1

def misbehave(what, seconds):
    if what == 1:
        while True:
            pass
    if what == 2:
        ctypes.string_at(0)
    if what == 3:
        os._exit(0)
    if what == 4:
        sys.exit(3)
    if what == 5:
        raise Gone("no Exception")
    if what == 6:
        deeper()
    if what == 7:
        kept = []
        while True:
            kept.append(np.empty(16 << 20, dtype=np.uint8))
    if what == 8:
        return bytearray(1 << 45)
    if what == 9:
        time.sleep(0.3)
    if what == 10:
        sys.setrecursionlimit(10**6)
        deeper()
    if what == 11:
        raise ValueError("not good")
    if what == 12:
        os.closerange(3, 256)
        time.sleep(60)
    if what == 13:
        for fd in range(3, 64):
            try:
                os.write(fd, b"\\xff" * 64)
            except OSError:
                pass
        time.sleep(60)
    if what == 14:
        if os.fork() == 0:
            time.sleep(20)
        os._exit(1)
    if what == 16:
        raise MemoryError("on purpose")
    if what == 17:
        time.sleep(seconds)
    if what == 15:
        open(os.environ["TMPDIR"] + "/left", "w").write("x")

def post(tensors):
    return tensors

def pre(tensors):
    first = tensors["X"][0] if len(tensors["X"]) else [0]
    if first[0] == 777.25:
        misbehave(int(first[1]), float(first[2]))
        first[0] = 7
    return {"X": tensors["X"]}
"""
MAGIC = 777.25
TROUBLES = {
    "none": 0, "loop": 1, "segfault": 2, "exit": 3, "sys.exit": 4, "base": 5, "recursion": 6, "memory": 7, "one-allocation": 8, "slow": 9,
    "deep-recursion": 10, "value": 11, "close": 12, "babble": 13, "orphan": 14, "scratch": 15, "memory-error": 16, "sleep": 17,
}  # fmt: skip
SIGNATURE = Signature(
    inputs=(TensorSpec(name="X", datatype=Datatype.FP32, shape=(BATCH, 4)),),
    outputs=(TensorSpec(name="Y", datatype=Datatype.FP32, shape=(BATCH, 2)),),
)
GOLDEN = GoldenAnswers(
    name="sample", why="", inputs={"X": np.zeros((3, 4), dtype=np.float32)}, outputs=[np.zeros((3, 2), dtype=np.float32)]
)


def ask(trouble: str = "none", rows: int = 1) -> dict[str, np.ndarray]:
    """Inputs that ask for trouble."""
    x = np.zeros((rows, 4), dtype=np.float32)
    x[0, :2] = MAGIC, TROUBLES[trouble]
    return {"X": x}


def require_alike_in_a_process(sample: RuntimeSample) -> None:
    """A runtime in a process gives the right answers, of the promised datatypes, again and again."""
    session = ProcessRuntime().load(sample.variant, sample.signature, sample.path)
    try:
        for _ in range(2):
            outputs = session.run(sample.inputs)
            assert compare(sample.signature.outputs, sample.expected, outputs).agrees
            assert [output.dtype for output in outputs] == [spec.datatype.dtype for spec in sample.signature.outputs]
    finally:
        session.close()


def trouble_package(folder: Path, *, hook: str = HOOK) -> PackageManifest:
    """The manifest; its files are laid into `folder` under their package paths."""
    cases, files = golden_files(SIGNATURE, [GOLDEN])
    for path, data in {**files, "hooks/trouble_hook.py": hook.encode()}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return PackageManifest(
        format_version=FORMAT_VERSION,
        signature=SIGNATURE,
        variants=(Variant(name="null", runtime="null", precision="fp32"),),
        golden=cases,
        provenance=Provenance(framework="test"),
        hooks=Hooks(pre="trouble_hook:pre", files=("hooks/trouble_hook.py",), model_signature=SIGNATURE, outputs=("Y",)),
    )
