"""`aweigh serve` as a process: started, ready, asked, ended."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

AWEIGH = Path(sys.executable).parent / "aweigh"


class Served:
    """One `aweigh serve`, ready."""

    def __init__(
        self,
        home: Path,
        *words: str,
        environment: Mapping[str, str] | None = None,
        port: int = 0,
        through: Sequence[str] = (),
        errors: int = subprocess.PIPE,
    ) -> None:
        """`through` is a command that becomes the server: it is given the server's own as its last words. `errors` is a file that its log goes to."""
        environment = {"PATH": os.environ["PATH"], "AWEIGH_HOME": str(home), **(environment or {})}
        command = [*through, str(AWEIGH), "serve", *words, "--port", str(port), "--json"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment)
        self.log: list[str] = []
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        try:
            self.said = self._first_document()
        except BaseException:
            self.end(signal.SIGKILL)
            raise
        self.url: str = self.said["url"]
        self.port: int = self.said["port"]
        self.target = f"127.0.0.1:{self.port}"

    def _read_log(self) -> None:
        if self.process.stderr is not None:
            self.log.extend(self.process.stderr)

    def _first_document(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        text = ""
        for line in self.process.stdout:
            text += line
            with contextlib.suppress(json.JSONDecodeError):
                return dict(json.loads(text))
        raise AssertionError(f"no announcement: {text} {self.log}")

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://{self.target}{path}", timeout=10) as answer:
            return bytes(answer.read())

    def end(self, number: int = signal.SIGTERM) -> int:
        """Signal the server; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            code = self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        self._reader.join(5)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        return code
