"""The contract of runtimes, held where their libraries are: each runtime in its own environment, in one process, and then as it is served from here.

A runtime comes under it by a file `contract_NAME.py` beside this one, with `samples(folder) -> list[RuntimeSample]`, which runs in the environment of the runtime's row:
numpy, msgspec, aweigh and the library, nothing else. Samples that other libraries make are made here (`MADE_HERE`).
"""

import dataclasses
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from tests.contract.test_runtimes import adapted, numbers
from tests.contract.test_tree_runtimes import samples
from tests.frameworks.kit import environments, make

from aweigh.core.compare import compare
from aweigh.core.plugins import plugin
from aweigh.runtimes.process import ProcessRuntime
from aweigh.testing import RuntimeSample

pytestmark = [pytest.mark.slow, pytest.mark.index, pytest.mark.timeout(600)]
HERE = Path(__file__).parent
MADE_HERE: dict[str, Callable[[Path], list[RuntimeSample]]] = {
    "lleaves": lambda folder: [_by("lleaves", sample) for sample in samples("lightgbm", folder)],
    "openvino": lambda folder: [numbers("openvino", folder), adapted("openvino", folder)],
}
RUNTIMES = sorted({*MADE_HERE, *(file.stem.removeprefix("contract_") for file in HERE.glob("contract_*.py"))})
HELD = """
import inspect, json, pickle
from pathlib import Path
from aweigh.core import plugins
from aweigh.testing import RuntimeContract, broken

def samples(folder):
    if Path("given.pickle").exists():
        return pickle.loads(Path("given.pickle").read_bytes())
    import contract_{runtime}
    return contract_{runtime}.samples(folder)

class Contract(RuntimeContract):
    def runtime(self):
        runtime = plugins.load("runtime", "{runtime}")
        # as in the child that a server starts: no further one for each of the contract's many sessions
        return runtime(in_child=True) if "in_child" in inspect.signature(runtime).parameters else runtime()

    def samples(self, folder):
        return samples(folder)

work = Path("work").absolute()
work.mkdir()
Path("broken.json").write_text(json.dumps(broken(Contract(), work)))
Path("samples.pickle").write_bytes(pickle.dumps(list(samples(work))))
"""


def _by(runtime: str, sample: RuntimeSample) -> RuntimeSample:
    """The sample as another runtime is to answer it."""
    return dataclasses.replace(sample, variant=msgspec.structs.replace(sample.variant, name=runtime, runtime=runtime))


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_runtime_holds_the_contract_in_its_environment_and_answers_alike_from_here(runtime: str, tmp_path: Path) -> None:
    if runtime in MADE_HERE:
        (tmp_path / "given.pickle").write_bytes(pickle.dumps(MADE_HERE[runtime](tmp_path)))
    else:
        (tmp_path / f"contract_{runtime}.py").write_text((HERE / f"contract_{runtime}.py").read_text())
    environment = plugin("runtime", runtime).environment
    make(environment, HELD.format(runtime=runtime), tmp_path)
    broken = json.loads((tmp_path / "broken.json").read_text())
    assert not broken, "\n".join(f"{name}:\n{how}" for name, how in broken.items())
    sample = pickle.loads((tmp_path / "samples.pickle").read_bytes())[0]
    session = ProcessRuntime(home=environments().home(environment)).load(sample.variant, sample.signature, sample.path)
    try:
        difference = compare(sample.signature.outputs, sample.expected, session.run(sample.inputs))
    finally:
        session.close()
    assert difference.agrees, difference
