"""A service of systemd on a machine where aweigh is installed: a user of its own that owns nothing, a memory limit, and a file system to read."""

import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Final, cast

import msgspec

from aweigh.core.errors import AweighError, InvalidInput, StoreUnavailable
from aweigh.core.nearest import nearest
from aweigh.deploy.commands import Commands
from aweigh.deploy.container import environment_of, memory_of
from aweigh.deploy.option_types import AbsolutePath, AnyPath, KeysPath, Published
from aweigh.deploy.prices import cost_lines
from aweigh.deploy.target import Applied, DeployJob, Finding, Need, Rendered
from aweigh.deploy.targets.docker import gap_note
from aweigh.deploy.unit_text import Unit, Value, read_unit, unit_text

_MARGIN_S: Final = 5
_HARDENING: Final = (
    ("DynamicUser", "yes"),
    ("NoNewPrivileges", "yes"),
    ("CapabilityBoundingSet", ""),
    ("AmbientCapabilities", ""),
    ("ProtectSystem", "strict"),
    ("ProtectHome", "yes"),
    ("PrivateTmp", "yes"),
    ("PrivateDevices", "yes"),
    ("PrivateUsers", "yes"),
    ("ProtectKernelTunables", "yes"),
    ("ProtectKernelModules", "yes"),
    ("ProtectKernelLogs", "yes"),
    ("ProtectControlGroups", "yes"),
    ("ProtectClock", "yes"),
    ("ProtectHostname", "yes"),
    ("ProtectProc", "invisible"),
    ("ProcSubset", "pid"),
    ("RestrictNamespaces", "yes"),
    ("RestrictRealtime", "yes"),
    ("RestrictSUIDSGID", "yes"),
    ("RestrictAddressFamilies", "AF_INET AF_INET6 AF_UNIX"),
    ("LockPersonality", "yes"),
    ("RemoveIPC", "yes"),
    ("SystemCallArchitectures", "native"),
    ("SystemCallFilter", "@system-service"),
    ("SystemCallFilter", "~@privileged @resources"),
    ("UMask", "0077"),
)
"""What a server never needs. Memory is not made executable-proof: runtimes compile."""
_KEYS: Final = {
    "Unit": frozenset({"Description", "Documentation", "After", "Before", "Wants", "Requires", "BindsTo", "PartOf", "Conflicts", "StartLimitIntervalSec", "StartLimitBurst"}),
    "Service": frozenset({
        "Type", "ExecStart", "ExecStartPre", "ExecStartPost", "ExecStop", "ExecReload", "Environment", "EnvironmentFile", "LoadCredential", "Restart", "RestartSec", "KillMode",
        "KillSignal", "TimeoutStartSec", "TimeoutStopSec", "MemoryMax", "MemoryHigh", "TasksMax", "CPUQuota", "CPUAffinity", "Nice", "StateDirectory", "WorkingDirectory", "RemainAfterExit", "ExecStopPost", "User", "Group",
        "LimitNOFILE", "IPAddressDeny", "IPAddressAllow", *(key for key, _ in _HARDENING),
    }),
    "Install": frozenset({"WantedBy", "RequiredBy", "Alias", "Also"}),
}  # fmt: skip
"""What is known of each section here; others are the person's and left to systemd, unless they look like one of these."""


class SystemdOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `--set` takes."""

    publish: Published = "127.0.0.1:8080"
    """Address and port. Anything but loopback needs api_keys_file."""
    api_keys_file: KeysPath = ""
    program: AbsolutePath = "/usr/local/bin/aweigh"
    """Where aweigh is installed."""
    home: AnyPath = ""
    """Store that the service reads; --apply brings the package there. Empty: /var/lib/aweigh-NAME, of the service alone."""
    units: AbsolutePath = "/etc/systemd/system"


class Systemd:
    """The target."""

    name: ClassVar[str] = "systemd"
    options: ClassVar[type[msgspec.Struct]] = SystemdOptions
    needs: ClassVar[frozenset[Need]] = frozenset()

    def render(self, job: DeployJob) -> Rendered:
        options = _options(job)
        unit = unit_name(job.name)
        model = str(job.package.reference)
        said = (f"{model} by systemd, by aweigh", job.capacity.source)
        archive = f"{job.name}.tar"
        return Rendered(
            files={unit: unit_text(service_unit(job, options), said=said)},
            does=[f"service {unit}: {model} at http://{options.publish}, with at most {memory_of(job)} MiB, restarted where it fails"],
            costs=cost_lines(self.name, job, memory_mib=memory_of(job)),
            commands=[
                f"aweigh export {model} {archive}",
                f"{options.program} import {archive} --home {home_of(job)}",
                f"install -m 644 {unit} {options.units}/{unit}",
                "systemctl daemon-reload",
                f"systemctl enable {unit}",
                f"systemctl restart {unit}",
            ],
            notes=[gap_note(job)],
        )

    def check(self, folder: Path, job: DeployJob) -> list[Finding]:
        unit = unit_name(job.name)
        try:
            found = read_unit((folder / unit).read_bytes(), place=unit)
        except OSError as error:
            return [Finding(place=unit, message=f"cannot be read: {error.strerror}", hint="render it again")]
        except AweighError as error:
            return [Finding(place=unit, message=error.message, hint=error.hint)]
        findings = check_service(unit, found)
        return findings or _verified(folder / unit, _options(job), Commands())

    def foresee(self, folder: Path, job: DeployJob) -> Mapping[str, str]:
        return {"unit": unit_name(job.name), "units": _options(job).units}

    def apply(self, folder: Path, job: DeployJob, commands: Commands) -> Applied:
        options, unit = _options(job), unit_name(job.name)
        if str(job.settings.home_folder) != home_of(job):
            _bring(job, options, commands)
        try:
            (Path(options.units) / unit).write_bytes((folder / unit).read_bytes())
        except OSError as error:
            raise StoreUnavailable(f"{options.units}/{unit} cannot be written: {error.strerror}", hint="apply it as root") from error
        for words in (["daemon-reload"], ["enable", unit], ["restart", unit]):
            commands.run(["systemctl", *words])
        return Applied(facts=self.foresee(folder, job), address=f"http://{options.publish}")

    def remove(self, facts: Mapping[str, str], folder: Path, commands: Commands) -> None:
        path = Path(facts["units"]) / facts["unit"]
        if not path.exists():
            return
        commands.run(["systemctl", "disable", "--now", facts["unit"]])
        path.unlink(missing_ok=True)
        commands.run(["systemctl", "daemon-reload"])


def unit_name(name: str) -> str:
    """Of the service of a deployment."""
    return f"aweigh-{name}.service"


def home_of(job: DeployJob) -> str:
    """The store that the service reads."""
    return _options(job).home or f"/var/lib/aweigh-{job.name}"


def service_unit(job: DeployJob, options: SystemdOptions) -> Unit:
    """A process that is stopped by SIGTERM, and has the time to finish what is in flight."""
    address, _, port = options.publish.rpartition(":")
    alone = address.startswith("127.")
    keys_file = f"/run/credentials/{unit_name(job.name)}/keys" if options.api_keys_file else ""
    environment = {**environment_of(job, keys_file=keys_file), "PORT": port, "AWEIGH_HOST": address, "AWEIGH_HOME": home_of(job)}
    if alone:
        environment["AWEIGH_NO_AUTH"] = "false"
    variant = ["--variant", job.variant.name] if job.variant_asked else []
    service: list[tuple[str, Value]] = [
        ("Type", "exec"),
        ("ExecStart", [options.program, "serve", str(job.package.reference), *variant]),
        *(("Environment", [f"{key}={value}"]) for key, value in environment.items()),
        *([("LoadCredential", f"keys:{options.api_keys_file}")] if options.api_keys_file else []),
        ("Restart", "always"),
        ("RestartSec", "1"),
        ("KillMode", "mixed"),
        ("TimeoutStopSec", str(math.ceil(job.settings.drain_timeout_s) + _MARGIN_S)),
        ("MemoryMax", f"{memory_of(job)}M"),
        ("TasksMax", "512"),
        *([] if options.home else [("StateDirectory", f"aweigh-{job.name}")]),
        *_HARDENING,
        *([("IPAddressDeny", "any"), ("IPAddressAllow", "localhost")] if alone else []),
    ]
    started = [("StartLimitIntervalSec", "300"), ("StartLimitBurst", "5")]
    return {
        "Unit": [("Description", f"{job.package.reference} by aweigh"), ("After", "network.target"), *started],
        "Service": service,
        "Install": [("WantedBy", "multi-user.target")],
    }


def check_service(place: str, found: Mapping[str, Sequence[tuple[str, str]]]) -> list[Finding]:
    """What systemd would refuse or pass over: keys that are missing, misspelt, or in a section that does not know them."""
    findings = [
        Finding(place=place, message=f"has no section [{section}]") for section in ("Unit", "Service", "Install") if section not in found
    ]
    for section, entries in found.items():
        for key, _ in entries:
            if section in _KEYS and key not in _KEYS[section]:
                near = nearest(key, _KEYS[section])
                findings.append(
                    Finding(
                        place=f"{place}: [{section}]",
                        message=f"key {key!r} is not known here",
                        hint=f"did you mean {near!r}?" if near else "",
                        fatal=bool(near),
                    )
                )
    service = dict(found.get("Service", ()))
    if "Service" in found and not service.get("ExecStart", "").startswith("/"):
        findings.append(Finding(place=f"{place}: [Service]", message="ExecStart is no absolute path"))
    return findings


def _verified(path: Path, options: SystemdOptions, commands: Commands) -> list[Finding]:
    """What `systemd-analyze verify` says, where it is installed; of a program that is not there on this machine it is not asked."""
    if not commands.there("systemd-analyze") or not Path(options.program).is_file():
        return []
    try:
        commands.run(["systemd-analyze", "verify", "--man=no", "--recursive-errors=yes", str(path)], timeout_s=60)
    except AweighError as error:
        return [Finding(place=path.name, message=error.message)]
    return []


def _options(job: DeployJob) -> SystemdOptions:
    options = cast("SystemdOptions", job.options)
    if not options.publish.startswith("127.") and not options.api_keys_file:
        raise InvalidInput(
            f"publish={options.publish} lets other machines ask, and no API keys are asked for",
            hint="give --set api_keys_file=/path/of/keys, or publish on 127.0.0.1 behind a proxy",
        )
    return options


def _bring(job: DeployJob, options: SystemdOptions, commands: Commands) -> None:
    """The package into the service's home, by a file; a second time it is there already."""
    with tempfile.TemporaryDirectory() as folder:
        archive = f"{folder}/{job.name}.tar"
        commands.run([options.program, "export", str(job.package.reference), archive, "--home", str(job.settings.home_folder)])
        commands.run([options.program, "import", archive, "--home", home_of(job)])
