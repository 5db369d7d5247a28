"""A virtual machine by cloud-init: user data that install Podman and start the pod of the target `podman` as a service. Any cloud's client takes them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final

import msgspec
from msgspec import Meta

from aweigh.core.errors import AweighError, InvalidFile, Unsupported
from aweigh.deploy.commands import Commands
from aweigh.deploy.manifest_checks import check_manifests
from aweigh.deploy.prices import cost_lines
from aweigh.deploy.target import Applied, DeployJob, Finding, Need, Rendered
from aweigh.deploy.targets.docker import OneMachineOptions, one_machine
from aweigh.deploy.targets.podman import pod_manifest
from aweigh.deploy.targets.systemd import check_service, unit_name
from aweigh.deploy.unit_text import Unit, read_unit, unit_text
from aweigh.deploy.yaml_text import read_yaml, yaml_text

_FILE: Final = "user-data.yaml"
_HEAD: Final = b"#cloud-config\n"
_PODMAN: Final = "/usr/bin/podman"


class _Written(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    path: Annotated[str, Meta(pattern=r"^/[A-Za-z0-9._/-]+$")]
    content: str
    permissions: Annotated[str, Meta(pattern=r"^0[0-7]{3}$")] = "0644"
    owner: str = "root:root"


class _UserData(msgspec.Struct, frozen=True, kw_only=True):
    """What aweigh renders; further keys are the person's, and cloud-init's to judge."""

    packages: list[str]
    write_files: list[_Written]
    runcmd: list[list[str]]
    """Words, never text: cloud-init gives text to a shell."""


class CloudInit:
    """The target."""

    name: ClassVar[str] = "cloud-init"
    options: ClassVar[type[msgspec.Struct]] = OneMachineOptions
    needs: ClassVar[frozenset[Need]] = frozenset({Need.IMAGE})

    def render(self, job: DeployJob) -> Rendered:
        options, container = one_machine(job)
        unit = unit_name(job.name)
        folder = f"/etc/aweigh/{job.name}"
        pod = yaml_text(pod_manifest(container, options))
        written = {
            f"{folder}/pod.yaml": pod,
            f"/etc/systemd/system/{unit}": unit_text(_unit(job, folder, container.start_limit_s, container.grace_s)),
        }
        document = {
            "package_update": True,
            "packages": ["podman", "catatonit", "containernetworking-plugins", "iptables"],
            "write_files": [
                {"path": path, "permissions": "0644", "owner": "root:root", "content": text.decode()} for path, text in written.items()
            ],
            "runcmd": [["systemctl", "daemon-reload"], ["systemctl", "enable", "--now", unit]],
        }
        said = (f"{container.model} on a machine of its own, by aweigh", job.capacity.source)
        return Rendered(
            files={_FILE: _HEAD + yaml_text(document, said=said)},
            does=[f"a machine that runs {container.model} at {options.publish} from its first start on"],
            costs=cost_lines(self.name, job, memory_mib=container.memory_mib),
            commands=[
                f"aws ec2 run-instances … --user-data file://{_FILE}",
                f"gcloud compute instances create … --metadata-from-file user-data={_FILE}",
                f"az vm create … --custom-data {_FILE}",
            ],
            notes=["Debian 12 or Ubuntu 22.04 and later; the machine must be able to pull the image"],
        )

    def check(self, folder: Path, job: DeployJob) -> list[Finding]:
        try:
            data = _read(folder)
        except (AweighError, msgspec.ValidationError) as error:
            return [Finding(place=_FILE, message=str(error), hint="render it again with --force")]
        findings: list[Finding] = []
        for written in data.write_files:
            place = f"{_FILE}: {written.path}"
            try:
                findings += _inside(place, written)
            except AweighError as error:
                findings.append(Finding(place=place, message=error.message, hint=error.hint))
        paths = {written.path for written in data.write_files}
        started = [words[-1] for words in data.runcmd if words[:2] == ["systemctl", "enable"]]
        for unit in started:
            if f"/etc/systemd/system/{unit}" not in paths:
                findings.append(Finding(place=f"{_FILE}: $.runcmd", message=f"starts {unit}, which is not written"))
        return findings or _by_cloud_init(folder, Commands())

    def apply(self, folder: Path, job: DeployJob, commands: Commands) -> Applied:
        raise Unsupported(
            "which machine to make is your cloud's client's to be told",
            hint=f"give it {folder / _FILE} as user data; the printed commands show how",
        )

    def remove(self, facts: Mapping[str, str], folder: Path, commands: Commands) -> None:
        """Nothing was applied."""


def _unit(job: DeployJob, folder: str, start_s: int, grace_s: int) -> Unit:
    """The pod lives by itself; this starts it with the machine, and stops it in time."""
    return {
        "Unit": [
            ("Description", f"{job.package.reference} by aweigh, in Podman"),
            ("After", "network-online.target"),
            ("Wants", "network-online.target"),
        ],
        "Service": [
            ("Type", "oneshot"),
            ("RemainAfterExit", "yes"),
            ("ExecStart", [_PODMAN, "play", "kube", "--replace", f"{folder}/pod.yaml"]),
            ("ExecStop", [_PODMAN, "pod", "stop", "--ignore", "--time", str(grace_s), job.name]),
            ("TimeoutStartSec", str(start_s + 600)),
            ("TimeoutStopSec", str(grace_s + 5)),
        ],
        "Install": [("WantedBy", "multi-user.target")],
    }


def _read(folder: Path) -> _UserData:
    try:
        data = (folder / _FILE).read_bytes()
    except OSError as error:
        raise InvalidFile(f"cannot be read: {error.strerror}") from error
    if not data.startswith(_HEAD):
        raise InvalidFile("does not begin with the line '#cloud-config': cloud-init would pass it over")
    documents: list[Any] = read_yaml(data, place=_FILE)
    return msgspec.convert(documents[0] if documents else None, _UserData)


def _inside(place: str, written: _Written) -> list[Finding]:
    if written.path.endswith(".yaml"):
        return check_manifests([(place, document) for document in read_yaml(written.content.encode(), place=place)])
    if written.path.endswith(".service"):
        return check_service(place, read_unit(written.content.encode(), place=place))
    return []


def _by_cloud_init(folder: Path, commands: Commands) -> list[Finding]:
    """What its own schema says, where it is installed."""
    if not commands.there("cloud-init"):
        return []
    try:
        commands.run(["cloud-init", "schema", "--config-file", _FILE], folder=folder, timeout_s=60)
    except AweighError as error:
        return [Finding(place=_FILE, message=error.message)]
    return []
