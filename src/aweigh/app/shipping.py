"""Packages to and from elsewhere: push and pull. Wires the store, the remote that an address means, and the trial of what comes."""

from collections.abc import Callable
from pathlib import Path
from typing import cast

from aweigh.app.archives import Adopted
from aweigh.app.packages import open_store
from aweigh.app.trial import Trial, on_terms
from aweigh.core.errors import InvalidInput, InvalidName, InvalidSetting
from aweigh.core.names import Reference, model_name, parse_reference
from aweigh.core.plugins import load
from aweigh.core.protocols import Progress, Remote, quiet
from aweigh.core.settings import Settings
from aweigh.store import Pushed, StoredPackage, find_offer, push
from aweigh.store.remotes import Access, Address, parse_address


def push_package(
    settings: Settings,
    text: str,
    address: str,
    *,
    access: Access | None = None,
    force: bool = False,
    progress: Progress = quiet,
) -> tuple[StoredPackage, Address, Pushed]:
    """Send a version to an address: under the address's tag, else under `v` and its number, and the alias it was named by.

    Raises ModelNotFound, InvalidInput, MissingLibrary, Conflict, and what the remote raises.
    """
    place, reference = parse_address(address), parse_reference(text)
    if place.digest:
        raise InvalidInput(f"{address!r} names a digest: what it is, is not chosen", hint="leave it out, or give a tag")
    package = open_store(settings).open(reference)
    remote = open_remote(place, access or access_of(settings))
    done = push(package, remote, _tags(place, reference, package), force=force, progress=progress, place=str(place))
    return package, place, done


def pull_package(
    settings: Settings,
    address: str,
    *,
    name: str = "",
    access: Access | None = None,
    trust: bool = False,
    progress: Progress = quiet,
) -> Adopted:
    """Publish the package at an address, under `name` or the last part of the address. Without a tag: the newest version there.

    Raises InvalidInput, MissingLibrary, NotFound, InvalidFile, Refused, NotTrusted for a package with code in it, unless `trust`.
    """
    place = parse_address(address)
    try:
        chosen = model_name(name or place.name)
    except InvalidName as error:
        raise error if name else InvalidName(error.message, hint="say what to call it here: --name NAME") from error
    remote = open_remote(place, access or access_of(settings))
    offer = find_offer(remote, tag=place.tag, digest=place.digest, place=str(place))
    trials: list[Trial] = []
    terms = on_terms(settings, trust=trust, origin=str(place), told=trials.extend, progress=progress)
    package = open_store(settings).adopt(chosen, offer, terms, progress=progress)
    return Adopted(package=package, trials=tuple(trials))


def open_remote(address: Address, access: Access) -> Remote:
    """The remote of an address. Raises MissingLibrary that names the extra to install."""
    opener = cast("Callable[[Address, Access], Remote]", load("remote", address.scheme))
    return opener(address, access)


def access_of(settings: Settings, *, username: str = "", password: str = "", mount_from: str = "") -> Access:
    """How to reach a remote: what is given, else what the settings say. Raises InvalidSetting for a password file that cannot be read."""
    if not username and settings.registry_username:
        username, password = settings.registry_username, _password(settings)
    return Access(
        ca_file=settings.ca_file,
        plain_http=settings.plain_http,
        username=username,
        password=password,
        docker_config=Path(settings.docker_config_file).expanduser() if settings.docker_config_file else None,
        mount_from=mount_from,
        timeout_s=settings.transfer_timeout_s,
    )


def _password(settings: Settings) -> str:
    try:
        return Path(settings.registry_password_file).expanduser().read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError, RuntimeError) as error:
        raise InvalidSetting(
            f"setting 'registry_password_file' is {settings.registry_password_file!r}, which cannot be read: {error}",
            hint="registry_username needs a file that holds its password or token",
        ) from error


def _tags(address: Address, reference: Reference, package: StoredPackage) -> list[str]:
    if address.tag:
        return [address.tag]
    tags = [f"v{package.reference.version}"]
    return [*tags, str(reference.alias)] if reference.alias else tags
