"""For authors of plug-ins: the contract suites that every runtime and every remote must pass, and fakes of aweigh's seams. Imports no test library.

from aweigh.testing import RuntimeContract, RuntimeSample

class TestMyRuntime(RuntimeContract):
    def samples(self, folder): return [RuntimeSample(...)]
"""

from aweigh.testing.fakes import FakeHandle, FakeSession, MemoryRemote
from aweigh.testing.remote_contract import RemoteContract
from aweigh.testing.runtime_contract import RuntimeContract, RuntimeSample, broken

__all__ = ["FakeHandle", "FakeSession", "MemoryRemote", "RemoteContract", "RuntimeContract", "RuntimeSample", "broken"]
