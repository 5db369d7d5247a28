"""For authors of plug-ins: the contract suite that every runtime must pass, and fakes of aweigh's seams. Imports no test library.

from aweigh.testing import RuntimeContract, RuntimeSample

class TestMyRuntime(RuntimeContract):
    def samples(self, folder): return [RuntimeSample(...)]
"""

from aweigh.testing.fakes import FakeHandle, FakeSession
from aweigh.testing.runtime_contract import RuntimeContract, RuntimeSample

__all__ = ["FakeHandle", "FakeSession", "RuntimeContract", "RuntimeSample"]
