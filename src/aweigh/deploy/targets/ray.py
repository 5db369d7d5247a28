"""Ray Serve: an application whose replicas load the package as aweigh's own server does, golden replay included, and answer through Ray's proxies.

Rendered are the application's configuration and its code, which is the same for every model: names and versions are data in the configuration.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, cast

import msgspec
from msgspec import Meta

from aweigh.core.errors import AweighError, Conflict, InvalidInput
from aweigh.deploy.commands import Commands
from aweigh.deploy.container import memory_of
from aweigh.deploy.manifest_checks import shape_finding
from aweigh.deploy.option_types import AnyPath
from aweigh.deploy.prices import cost_lines
from aweigh.deploy.target import Applied, DeployJob, Finding, Need, Rendered
from aweigh.deploy.yaml_text import read_yaml, yaml_text

_CONFIG: Final = "serve.yaml"
_CODE: Final = "aweigh_ray.py"
_SOURCE: Final = Path(__file__).parent / "ray_application.txt"


class RayOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `--set` takes."""

    dashboard: Annotated[str, Meta(pattern=r"^https?://[A-Za-z0-9.:\[\]-]{1,255}$")] = "http://127.0.0.1:8265"
    """Of the cluster that --apply talks to."""
    route: Annotated[str, Meta(pattern=r"^/[A-Za-z0-9._/-]{0,200}$")] = "/"
    port: Annotated[int, Meta(ge=1, le=65535)] = 8000
    home: AnyPath = ""
    """Store on the machines of the cluster that holds the package; empty: theirs by default."""


class _Autoscaling(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    min_replicas: Annotated[int, Meta(ge=0)]
    max_replicas: Annotated[int, Meta(ge=1)]
    target_ongoing_requests: Annotated[float, Meta(gt=0)]


class _Deployment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    ray_actor_options: dict[str, Any]
    max_ongoing_requests: Annotated[int, Meta(ge=1)]
    graceful_shutdown_timeout_s: float
    autoscaling_config: _Autoscaling | None = None
    num_replicas: Annotated[int, Meta(ge=1)] | None = None


class _Application(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    import_path: Annotated[str, Meta(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]
    route_prefix: Annotated[str, Meta(pattern="^/")]
    args: dict[str, str]
    deployments: list[_Deployment]
    runtime_env: dict[str, Any] = {}


class _Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    http_options: dict[str, Any]
    applications: Annotated[list[_Application], Meta(min_length=1)]
    proxy_location: str = "EveryNode"


class Ray:
    """The target."""

    name: ClassVar[str] = "ray"
    options: ClassVar[type[msgspec.Struct]] = RayOptions
    needs: ClassVar[frozenset[Need]] = frozenset()

    def render(self, job: DeployJob) -> Rendered:
        options = cast("RayOptions", job.options)
        said = (f"{job.package.reference} on Ray Serve, by aweigh", job.capacity.source)
        return Rendered(
            files={_CONFIG: yaml_text(_config(job, options), said=said), _CODE: _SOURCE.read_bytes()},
            does=[
                f"application {job.name}: {job.scale.least} to {max(1, job.scale.most)} replicas of {job.package.reference} at {options.route}"
            ],
            costs=cost_lines(self.name, job, memory_mib=memory_of(job)),
            commands=[f"serve deploy {_CONFIG}"],
            notes=[
                "`serve deploy` replaces every application of the cluster; --apply sends those that are there with it, by hand put them into serve.yaml",
                "aweigh and the package must be on the machines of the cluster: `pip install aweigh`, `aweigh pull` or `aweigh import`",
            ],
        )

    def check(self, folder: Path, job: DeployJob) -> list[Finding]:
        try:
            document = read_yaml((folder / _CONFIG).read_bytes(), place=_CONFIG)[0]
            config = msgspec.convert(document, _Config)
        except OSError as error:
            return [Finding(place=_CONFIG, message=f"cannot be read: {error.strerror}", hint="render it again")]
        except msgspec.ValidationError as error:
            return [shape_finding(_CONFIG, _Config, str(error))]
        except (AweighError, IndexError) as error:
            return [Finding(place=_CONFIG, message=str(error), hint="render it again with --force")]
        findings = []
        for at, application in enumerate(config.applications):
            module = application.import_path.partition(":")[0]
            if not (folder / f"{module.replace('.', '/')}.py").is_file():
                findings.append(Finding(place=f"{_CONFIG}: $.applications[{at}].import_path", message=f"there is no {module}.py"))
            for deployment in application.deployments:
                scaling = deployment.autoscaling_config
                if scaling and scaling.min_replicas > scaling.max_replicas:
                    findings.append(Finding(place=f"{_CONFIG}: {deployment.name}", message="min_replicas is above max_replicas"))
        return findings

    def apply(self, folder: Path, job: DeployJob, commands: Commands) -> Applied:
        """With every application that the cluster has already: Ray takes away what a configuration does not name."""
        options = cast("RayOptions", job.options)
        document = read_yaml((folder / _CONFIG).read_bytes(), place=_CONFIG)[0]
        own = {str(each["name"]): str(each["route_prefix"]) for each in document["applications"]}
        others = [each for each in _deployed(commands, options.dashboard) if each["name"] not in own]
        for each in others:
            if each.get("route_prefix", "/") in own.values():
                message = f"{each.get('route_prefix', '/')} is the route of the application '{each['name']}' on that cluster"
                raise InvalidInput(message, hint="say another one: --set route=/NAME")
        _deploy(commands, options.dashboard, {**document, "applications": [*document["applications"], *others]}, folder)
        facts = {"name": job.name, "dashboard": options.dashboard}
        return Applied(facts=facts, address=f"http://127.0.0.1:{options.port}{options.route}")

    def remove(self, facts: Mapping[str, str], folder: Path, commands: Commands) -> None:
        """The application alone; Ray Serve itself where it was the last."""
        name, dashboard = facts["name"], facts["dashboard"]
        there = _deployed(commands, dashboard)
        others = [each for each in there if each["name"] != name]
        if len(others) == len(there):
            return
        if others:
            path = folder / _CONFIG
            document = read_yaml(path.read_bytes(), place=_CONFIG)[0] if path.is_file() else {}
            _deploy(commands, dashboard, {**document, "applications": others}, folder)
            return
        if started := sorted(_running(commands, dashboard) - {name}):
            hint = f"end it from Python: serve.delete({name!r})"
            raise Conflict(
                f"applications run there that no configuration names, as '{started[0]}': shutting Serve down would end them", hint=hint
            )
        commands.run(["serve", "shutdown", "--address", dashboard, "--yes"])


def _deployed(commands: Commands, dashboard: str) -> list[dict[str, Any]]:
    """The applications of the cluster, as they were configured: `serve config` prints one document for each, or a sentence where there is none."""
    said = commands.run(["serve", "config", "--address", dashboard])
    return [each for each in read_yaml(said.encode(), place="serve config") if isinstance(each, dict) and "name" in each]


def _running(commands: Commands, dashboard: str) -> set[str]:
    """Names of all applications, also of those that a program started without a configuration."""
    said = read_yaml(commands.run(["serve", "status", "--address", dashboard]).encode(), place="serve status")
    found = said[0].get("applications") if said and isinstance(said[0], dict) else None
    return set(found or {})


def _deploy(commands: Commands, dashboard: str, document: dict[str, Any], folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="aweigh-ray-") as work:
        path = Path(work) / _CONFIG
        path.write_bytes(yaml_text(document))
        commands.run(["serve", "deploy", "--address", dashboard, str(path)], folder=folder if folder.is_dir() else None)


def _config(job: DeployJob, options: RayOptions) -> dict[str, Any]:
    most = max(1, job.scale.most)
    scaling: dict[str, Any] = {"num_replicas": most}
    if job.scale.least != most:
        scaling = {
            "autoscaling_config": {
                "min_replicas": job.scale.least,
                "max_replicas": most,
                "target_ongoing_requests": float(job.capacity.concurrency),
            }
        }
    deployment = {
        "name": "Model",
        "ray_actor_options": {"num_cpus": 1, "memory": memory_of(job) * 2**20},
        "max_ongoing_requests": max(2 * job.capacity.concurrency, 2),
        "graceful_shutdown_timeout_s": job.settings.drain_timeout_s,
        **scaling,
    }
    application = {
        "name": job.name,
        "import_path": f"{_CODE.removesuffix('.py')}:build",
        "route_prefix": options.route,
        "args": {"model": str(job.package.reference), "variant": job.variant.name, "home": options.home},
        "runtime_env": {"env_vars": {"ORT_DISABLE_TELEMETRY": "1"}},
        "deployments": [deployment],
    }
    return {
        "proxy_location": "EveryNode",
        "http_options": {"host": "127.0.0.1", "port": options.port},
        "applications": [application],
    }
