"""The program of the template that workers are forked from: `python -m aweigh.app.template CONTROL PARENT RUNTIME...`, started by the supervisor.

Imports what a worker of these runtimes imports, and starts nothing: no thread, no event loop, no session.
"""

import contextlib
import os
import socket
import sys

from aweigh.app.worker import work
from aweigh.core import plugins
from aweigh.core.errors import AweighError
from aweigh.serve.workers.processes import die_with
from aweigh.serve.workers.template import serve_forks


def main() -> None:
    """Fork workers for the supervisor at the other end of CONTROL; in each of them, be that worker."""
    control, parent = map(int, sys.argv[1:3])
    die_with(parent)
    os.set_inheritable(control, False)  # noqa: FBT003  # the standard library's own signature
    for kind, names in (("dialect", [row.name for row in plugins.plugins("dialect")]), ("runtime", sys.argv[3:])):
        for name in names:
            with contextlib.suppress(AweighError):  # the worker that needs it says why it cannot have it
                plugins.load(kind, name)
    files = serve_forks(socket.socket(fileno=control))
    if files is not None:
        work(*files)


if __name__ == "__main__":
    main()
