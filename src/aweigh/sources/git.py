"""A file or folder of a Git repository at a commit: `git+https://HOST/REPO.git[@REF][#PATH]`, `git+file:///REPO[@REF][#PATH]`.

The program git fetches it, without hooks, submodules, filters, links or anyone's configuration, from the host that was checked; files in Git LFS come after it.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Final, cast
from urllib.parse import urlsplit

from aweigh.core.errors import (
    DeadlineExceeded,
    Denied,
    InvalidInput,
    MissingLibrary,
    NotFound,
    Refused,
    TooLarge,
    Unauthenticated,
    Unsupported,
)
from aweigh.core.plugins import load
from aweigh.sources.guard import checked_addresses
from aweigh.sources.pointers import Missing, Pointer, copy_files, find_pointers
from aweigh.sources.terms import Budget, Fetched, Terms

_ADDRESS: Final = re.compile(
    r"git\+(?P<url>(?:https|file)://[^@#?\s]+)(?:@(?P<ref>[A-Za-z0-9_][\w./-]{0,199}))?(?:#(?P<path>[^#?\0]{1,400}))?", re.ASCII
)
_COMMIT: Final = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?", re.ASCII)
_LOOK_S: Final = 0.2
_WATCHED: Final = Path(__file__).with_name("watched.py")
_NOT_THERE: Final = (NotFound, Unauthenticated, Denied, Unsupported, MissingLibrary)
"""How servers without Git LFS, or without these files, answer."""
_OPTIONS: Final = {
    "core.hooksPath": os.devnull, "core.symlinks": "false", "core.fsmonitor": "false", "protocol.allow": "never", "submodule.recurse": "false",
    "http.followRedirects": "false", "credential.helper": "", "filter.lfs.smudge": "", "filter.lfs.process": "", "filter.lfs.required": "false",
    "transfer.fsckObjects": "true", "gc.auto": "0", "maintenance.auto": "false", "advice.detachedHead": "false",
}  # fmt: skip


def fetch_git(text: str, folder: Path, terms: Terms) -> Fetched:
    """The checkout, or the path in it. Raises InvalidInput, NotFound, Refused, TooLarge, DeadlineExceeded, MissingLibrary without git."""
    found = _ADDRESS.fullmatch(text)
    path = (found["path"] or "") if found else ""
    ref = (found["ref"] or "HEAD") if found else ""
    if found is None or ".." in ref or any(part in {"", ".", "..", ".git"} for part in path.split("/") if path):
        raise InvalidInput(f"{text[:120]!r} is no place in a Git repository", hint="write git+https://HOST/REPO.git@COMMIT#PATH")
    program = shutil.which("git")
    if program is None:
        raise MissingLibrary("the program git is not installed", hint="install git, or clone the repository and give its folder")
    url = found["url"]
    options = {**_OPTIONS, f"protocol.{urlsplit(url).scheme}.allow": "always", **_pinned(url, terms)}
    root = folder / (Path(urlsplit(url).path).name.removesuffix(".git") or "repository")
    root.mkdir(parents=True)
    run = _Git(program, root, options, terms)
    run("init", "--quiet", "--template=")
    run("fetch", "--quiet", "--no-tags", "--depth=1", "--no-recurse-submodules", "--", url, ref)
    run("checkout", "--quiet", "--detach", "FETCH_HEAD")
    commit = run("rev-parse", "HEAD").strip()
    place = root / path if path else root
    if not _COMMIT.fullmatch(commit) or not os.path.lexists(place):
        raise NotFound(f"{url} has no {path!r} at {commit[:12]}", hint="check the path; it is case-sensitive")
    shutil.rmtree(root / ".git")
    _fill_pointers(place, url, terms)
    return Fetched(path=place, origin=f"git+{url}@{commit}" + (f"#{path}" if path else ""))


def _fill_pointers(place: Path, url: str, terms: Terms) -> None:
    """Fetch what lies in Git LFS. A file that cannot be had is an error where it is what was asked for; in a folder it stays a pointer, which is never packed."""
    pointers = find_pointers(place)
    if not pointers:
        return
    budget = Budget(terms)
    for pointer in pointers:
        budget.file()
        budget.take(pointer.size_bytes)
    terms.progress(f"fetching {len(pointers)} files from Git LFS")
    fetch: Callable[[Sequence[Pointer], str, Terms], Missing] = copy_files
    if urlsplit(url).scheme != "file":
        fetch = cast("Callable[[Sequence[Pointer], str, Terms], Missing]", load("pointers", "git-lfs"))
    try:
        missing = fetch(pointers, url, terms)
    except _NOT_THERE as error:
        missing = dict.fromkeys((pointer.place for pointer in pointers), error)
    if place in missing:
        raise missing[place]
    for file, why in missing.items():
        terms.progress(f"{file.name} stays a pointer: {why.message}")


def _pinned(url: str, terms: Terms) -> dict[str, str]:
    """Settings that make git connect to the address that was checked. Raises Refused."""
    parts = urlsplit(url)
    if parts.scheme == "file":
        return {}
    try:
        host, port = parts.hostname or "", parts.port or 443
    except ValueError as error:
        raise InvalidInput(f"{url[:120]!r} has a port that is none", hint="check the address") from error
    address = checked_addresses(host, port, terms)[0]
    shown = f"[{address}]" if ":" in address else address
    pinned = {"http.curloptResolve": f"{host}:{port}:{shown}", "http.proxy": ""}
    return {**pinned, "http.sslCAInfo": terms.ca_file} if terms.ca_file else pinned


class _Git:
    """Runs git in one folder, watched: all of it ends at its deadline, when the folder has grown beyond what is allowed, and with whoever asked."""

    def __init__(self, program: str, root: Path, options: Mapping[str, str], terms: Terms) -> None:
        self._program = program
        self._root = root
        self._options = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        self._terms = terms

    def __call__(self, *words: str) -> str:
        environment = {
            "PATH": os.defpath, "HOME": str(self._root), "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "true", "GIT_LFS_SKIP_SMUDGE": "1", "GIT_ATTR_NOSYSTEM": "1", "LC_ALL": "C",
        }  # fmt: skip
        command = [sys.executable, "-IS", str(_WATCHED), str(os.getpid()), self._program, *self._options, *words]
        until = monotonic() + max(10 * self._terms.timeout_s, self._terms.timeout_s)
        with subprocess.Popen(
            command,
            cwd=self._root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                while True:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        out, err = process.communicate(timeout=_LOOK_S)
                        break
                    if monotonic() > until:
                        raise DeadlineExceeded(
                            "git took too long", hint="raise transfer_timeout_s, or clone it yourself and give the folder"
                        )
                    self._check_size()
            except BaseException:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # git's own children too: those who transfer go on without it
                raise
        self._check_size()
        if process.returncode:
            raise Refused(
                f"git {words[0]} failed: {err.strip()[-300:]}",
                hint="check address, branch or commit, and that it may be read without a password",
            )
        return out

    def _check_size(self) -> None:
        size = 0
        for folder, _, files in os.walk(self._root):
            for name in files:
                with contextlib.suppress(OSError):
                    size += os.lstat(os.path.join(folder, name)).st_size  # noqa: PTH118  # many of them: no objects between
        if size > self._terms.max_bytes:
            raise TooLarge(
                f"the repository has more than the {self._terms.max_bytes} bytes that are fetched",
                hint="raise the setting max_source_bytes",
            )
