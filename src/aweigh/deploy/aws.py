"""Amazon Web Services through its own client, `aws`: calls whose answers are JSON, and roles. Called by the targets lambda and sagemaker."""

import json
import re
import time
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from aweigh.core.errors import InvalidInput, Refused
from aweigh.deploy.commands import Commands

FULL_CORE_MIB: Final = 1769
"""Memory at which a function has one whole processor: https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html"""
_REGION: Final = re.compile(r"(?:[a-z]{2}(?:-[a-z]+){1,3}-[0-9])?", re.ASCII)
_ROLE: Final = re.compile(r"(?:arn:aws[a-z-]*:iam::[0-9]{12}:role/[\w+=,.@/-]{1,512})?", re.ASCII)
_BUCKET: Final = re.compile(r"(?:[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])?", re.ASCII)
_GONE: Final = ("NoSuchEntity", "ResourceNotFoundException", "Could not find", "does not exist", "NotFound")
_TRIES: Final = 12
_PAUSE_S: Final = 3.0


class Aws:
    """The client, for one region; none means the one that it is configured with."""

    def __init__(self, commands: Commands, region: str) -> None:
        self._commands = commands
        self._words = (*(("--region", region) if region else ()), "--output", "json")

    def call(self, service: str, operation: str, *words: str, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """One call, with its parameters as JSON. Raises Unavailable, Refused with the service's own words."""
        parameters = ("--cli-input-json", json.dumps(given)) if given is not None else ()
        said = self._commands.run(["aws", service, operation, *parameters, *words, *self._words])
        try:
            found = msgspec.json.decode(said or "{}")
        except msgspec.DecodeError:
            return {}
        return found if isinstance(found, dict) else {}

    def find(self, service: str, operation: str, *words: str) -> dict[str, Any] | None:
        """The same; None where what is asked for is not there."""
        try:
            return self.call(service, operation, *words)
        except Refused as error:
            if is_gone(error):
                return None
            raise

    def remove(self, service: str, operation: str, *words: str) -> None:
        """The same; what is gone already is no failure."""
        self.find(service, operation, *words)

    def role(self, name: str, service: str, policy: str, given: str) -> tuple[str, str]:
        """The address of the role to run as, and its name where it is aweigh's own: `given`, or one that `service` may take with `policy`."""
        if given:
            return given, ""
        found = self.find("iam", "get-role", "--role-name", name)
        if found is None:
            found = self.call("iam", "create-role", given={"RoleName": name, "AssumeRolePolicyDocument": json.dumps(_trust(service))})
        self.call("iam", "attach-role-policy", "--role-name", name, "--policy-arn", policy)
        return str(found["Role"]["Arn"]), name

    def patiently(self, service: str, operation: str, *words: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """A call that names a role which was just made: it takes a while until every service knows it."""
        for left in reversed(range(_TRIES)):
            try:
                return self.call(service, operation, *words, given=given)
            except Refused as error:
                if not left or "role" not in error.message.lower() or "assume" not in error.message.lower():
                    raise
                time.sleep(_PAUSE_S)
        return {}

    def drop_role(self, name: str, policy: str) -> None:
        """Remove a role that `role` made."""
        if name:
            self.remove("iam", "detach-role-policy", "--role-name", name, "--policy-arn", policy)
            self.remove("iam", "delete-role", "--role-name", name)


def is_gone(error: Refused) -> bool:
    """Whether the service said that it does not know what was asked for."""
    return any(word in error.message for word in _GONE)


def _trust(service: str) -> dict[str, Any]:
    return {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}],
    }


def checked(*, region: str = "", role: str = "", bucket: str = "") -> None:
    """Raises InvalidInput for what is no region, role or bucket."""
    if not _REGION.fullmatch(region):
        raise InvalidInput(f"{region[:80]!r} is not a region of AWS", hint="write it as eu-west-1")
    if not _ROLE.fullmatch(role):
        raise InvalidInput(f"{role[:80]!r} is not the address of a role", hint="write it as arn:aws:iam::123456789012:role/NAME")
    if not _BUCKET.fullmatch(bucket):
        raise InvalidInput(f"{bucket[:80]!r} is not the name of a bucket", hint="3 to 63 of lower-case letters, digits, '.' and '-'")
