"""Takes the network away from the process that asks for it, and from all that it starts. Called by a child before it touches what it was started for.

An empty network namespace where the system gives one, else a filter of system calls (both Linux), else a hook that stops Python code alone.
"""

import contextlib
import ctypes
import errno
import os
import platform
import socket
import sys
from pathlib import Path
from typing import Any, Final

_CLONE_NEWUSER: Final = 0x10000000
_CLONE_NEWNET: Final = 0x40000000
_PR_SET_SECCOMP: Final = 22
_PR_SET_NO_NEW_PRIVS: Final = 38
_FILTER_MODE: Final = 2
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW: Final = 0x7FFF0000
_DENY: Final = 0x00050000 | errno.EACCES
_NUMBER_AT, _ARCHITECTURE_AT, _FIRST_ARGUMENT_AT = 0, 4, 16
_OTHER_NUMBERS: Final = 0x40000000
"""From here on x86-64 has its system calls a second time (x32)."""
_IO_URING_SETUP: Final = 425
_MACHINES: Final = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}
"""What the kernel calls the processor, and its number of the system call `socket`."""
_EVENTS: Final = frozenset({"socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg"})


class _Instruction(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint16), ("if_true", ctypes.c_uint8), ("if_false", ctypes.c_uint8), ("value", ctypes.c_uint32))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("instructions", ctypes.POINTER(_Instruction)))


def leave_network() -> bool:
    """True where the network is gone for whatever runs here; False where Python code alone is kept from it."""
    if sys.platform == "linux" and (enter_empty_namespace() or filter_sockets()):
        return True
    sys.addaudithook(_refuse)
    return False


def enter_empty_namespace() -> bool:
    """A namespace without interfaces: outright with the privilege, else inside an own user namespace that keeps user and group."""
    unshare = ctypes.CDLL(None, use_errno=True).unshare
    if unshare(_CLONE_NEWNET) == 0:
        return True
    user, group = os.geteuid(), os.getegid()
    if unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
        return False
    with contextlib.suppress(OSError):  # unmapped, files still open by the outer user; only the shown number differs
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1", encoding="ascii")
    return True


def filter_sockets() -> bool:
    """No socket but those of the machine's own files (AF_UNIX) can be made any more, by any code: seccomp, which needs no privilege."""
    known = _MACHINES.get(platform.machine())
    if known is None:
        return False
    architecture, socket_call = known
    steps = (
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_EQUAL, 0, 7, architecture),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_AT_LEAST, 5, 0, _OTHER_NUMBERS),
        (_EQUAL, 4, 0, _IO_URING_SETUP),  # makes sockets by another way
        (_EQUAL, 0, 2, socket_call),
        (_LOAD, 0, 0, _FIRST_ARGUMENT_AT),
        (_EQUAL, 0, 1, socket.AF_UNIX),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _DENY),
    )
    instructions = (_Instruction * len(steps))(*(_Instruction(*step) for step in steps))
    program = _Program(len(steps), instructions)
    control = ctypes.CDLL(None, use_errno=True).prctl
    if control(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    return bool(control(_PR_SET_SECCOMP, _FILTER_MODE, ctypes.byref(program), 0, 0) == 0)


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event in _EVENTS and getattr(arguments[0], "family", None) != getattr(socket, "AF_UNIX", None):
        raise PermissionError("this process has no network")
