"""Settings: as written (file, environment, flags), merged, then one frozen `Settings` that is passed as an argument.

Only `read_settings` looks at the environment and the settings file, and only when called. An unknown key is an error with the nearest name.
Precedence: flag, then environment (AWEIGH_…, then the variables of clouds: PORT), then file (aweigh.toml in AWEIGH_HOME, or --settings), then default.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, get_args

import msgspec

from aweigh.core.errors import FileMissing, InvalidSetting
from aweigh.core.nearest import nearest

MIB: Final = 1024 * 1024


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Every setting with its default. Each field's name is also its key in the file and, in capitals after AWEIGH_, in the environment."""

    home: str = "~/.aweigh"
    """Folder of store, caches and records."""
    host: str = "127.0.0.1"
    """Address to listen on. Anything but loopback needs api_key_file or no_auth."""
    port: int = 8080
    """One port for REST and gRPC; 0 takes a free one. Clouds say it as PORT, which is read too."""
    api_key_file: str = ""
    """File with one API key per line (`name:key` or `key`); requests need `Authorization: Bearer KEY`."""
    no_auth: bool = False
    """Allow a non-loopback address without API keys."""
    health_route: str = ""
    """Path that Vertex AI asks for health, as AIP_HEALTH_ROUTE; empty: there is none beside /ready."""
    predict_route: str = ""
    """Path that Vertex AI sends instances to, as AIP_PREDICT_ROUTE; empty: there is none."""
    model_control: Literal["auto", "on", "off"] = "auto"
    """Whether models may be loaded and unloaded by request; auto allows it on loopback and where API keys are set."""
    variant: str = ""
    """Serve this variant instead of the quickest that is proven."""
    version_policy: str = "latest:1"
    """Which versions of a model named without one are served: 'latest:1', 'latest:N', 'all' or 'specific:1,3'; of one name: 'all; fraud=latest:2'."""
    version_transition: Literal["availability", "resource"] = "availability"
    """How a new version takes over: loaded beside the old one, or after the old one has gone, which needs less memory and leaves a gap."""
    poll_store_s: float = 0.0
    """How often the store is looked at for versions and aliases that changed; 0 looks at the start and when a model is loaded or unloaded by request."""
    load_tries: int = 5
    """Loads of a version found by polling before it is given up; what cannot get better, such as a golden mismatch, is not tried again."""
    load_retry_s: float = 60.0
    """Time between them."""
    labels_for_unavailable: bool = False
    """Let an alias stand in requests for a version that is not loaded; without it, it stays with the version it had until the new one is loaded."""
    load_on_first_use: bool = False
    """Load a model when it is first asked for, not at the start; the request waits for it."""
    memory_budget_bytes: int = 0
    """Memory for all models, of all workers together; beyond it the least recently used model goes, and comes back when it is asked for. 0 is no limit."""
    pinned_models: str = ""
    """Names or patterns with * and ?, separated by commas, of models that never go to make room for others."""
    shared_memory: bool = False
    """Let clients on this machine register memory under /dev/shm and send and take tensors through it."""
    shared_memory_keys: str = "*"
    """Names under /dev/shm that clients may register: patterns with * and ?, separated by commas. Those that begin with aweigh never."""
    live_alias: str = "live"
    """Alias of the store that names the version which a bare name means to a server; promoting a version moves it. Without one the newest is served."""
    fallback: str = ""
    """Models that stand in for others which are down, fail or are too slow: 'fraud=fraud-simple', several separated by commas. Both must be served."""
    fallback_after_ms: float = 0.0
    """How long the first choice may take before its fallback is asked, for models that do not run on the event loop; 0 is as long as it takes."""
    fallback_failures: int = 5
    """Failures of the first choice in a row after which its fallback answers at once."""
    fallback_pause_s: float = 5.0
    """How long it does so until a request tries the first choice again."""
    workers: int = 1
    """Processes that serve on the one port, under a supervisor when there are several."""
    hang_timeout_s: float = 0.8
    """Of several workers, one whose event loop stands still for this long while it serves is killed and replaced; 0 lets it be."""
    load_timeout_s: float = 600.0
    """The same while a worker loads a model; 0 lets it be."""
    worker_memory_bytes: int = 0
    """Memory of its own beyond which a worker is replaced, mapped weights not counted; at half as much again it is killed. 0 is no limit."""
    share_weights_bytes: int = 16 * MIB
    """ONNX models of this size and more that several processes serve are laid out once and mapped by all; 0 lets each load its own."""
    executor: Literal["auto", "inline", "thread", "process"] = "auto"
    """Where sessions run; auto measures at warm-up. Packages that bring code of their own run in a process whatever this says."""
    functions: Literal["process", "server"] = "process"
    """Where the Python functions of pipelines run: each in a process of its own, or in the server's, which is quicker. `server` trusts whoever wrote them."""
    inline_limit_us: int = 1000
    """Under auto, a model whose warmed-up call is dearer than this runs on threads."""
    threads: int = 0
    """Calls of one model that run on threads at the same time; 0 measures at load what answers most with session_threads."""
    processes: int = 1
    """Processes of one model that runs in processes of its own."""
    session_threads: int = 0
    """Threads inside one call; 0 measures it at load for models that run on threads, and is 1 for all others."""
    batching: Literal["auto", "off"] = "auto"
    """Whether requests of a model may run together; auto lets them where the model's evidence says that a row's answer does not depend on its batch."""
    max_batch_rows: int = 256
    """Most rows of several requests that run together; what is chosen below that is measured, and shown in the model's config."""
    max_batch_delay_ms: float = 0.0
    """How long a model that does not run on the event loop waits for more rows than there are; 0 takes what is there."""
    objective: str = ""
    """Latency to hold, such as 'p99 <= 20ms': batches are kept small enough for it, and what would be too late is rejected at once."""
    queue_timeout_ms: float = 0.0
    """How long a request that states no deadline may wait to be started; 0 is no limit but request_timeout_s."""
    queue_timeout_action: Literal["reject", "delay"] = "reject"
    """What becomes of a request that has waited so long: it is rejected, or comes after all others."""
    priority_levels: int = 1
    """Levels that the request parameter 'priority' chooses among: 1 goes first, 0 or none is the middle one."""
    response_cache_bytes: int = 0
    """Memory for answers that equal requests get again, of all models and workers together; 0 keeps none. Only models that are known to be deterministic."""
    max_queue: int = 256
    """Requests that may wait for a thread or process; more are answered as overloaded."""
    max_body_bytes: int = 64 * MIB
    """Largest request body and gRPC message."""
    max_head_bytes: int = 32 * 1024
    """Largest HTTP/1.1 request head and HTTP/2 header list."""
    max_connections: int = 4096
    """Open connections; more are closed at once."""
    max_streams: int = 256
    """Concurrent HTTP/2 streams on one connection."""
    max_json_depth: int = 64
    """Nesting allowed in a JSON body."""
    max_elements: int = 64 * MIB
    """Tensor elements in one request."""
    max_rows: int = 65536
    """Rows in one request."""
    idle_timeout_s: float = 75.0
    """A keep-alive connection with nothing to do is closed after this."""
    request_timeout_s: float = 30.0
    """Time to receive one request, and to answer it. A call in a process of its own that takes longer is killed with its process."""
    drain_timeout_s: float = 30.0
    """At SIGTERM: time for requests in flight to finish."""
    drain_delay_s: float = 0.0
    """At SIGTERM: time to go on accepting, not ready, while load balancers take notice."""
    access_log: bool = False
    """Log every request, not only failures."""
    log_format: Literal["auto", "json", "text"] = "auto"
    """auto is text on a terminal, JSON lines elsewhere."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Events below this are not logged; debug also shows the traceback of an error."""
    store_quota_bytes: int = 0
    """Most bytes that the store's files may take together; 0 is no limit but the disk."""
    ca_file: str = ""
    """PEM file of further authorities to trust when talking to a registry."""
    plain_http: bool = False
    """Talk to the registry over http. A registry on this machine is tried over http without it."""
    registry_username: str = ""
    """User name at the registry; empty: what 'docker login' left in docker_config_file, if anything."""
    registry_password_file: str = ""
    """File that holds the password or token of registry_username."""
    docker_config_file: str = "~/.docker/config.json"
    """Where credentials of registries are looked up."""
    transfer_timeout_s: float = 60.0
    """A push or pull that gets no answer and moves no byte for this long tries again, and then gives up."""
    private_hosts: str = ""
    """Hosts on this machine or a private network that models may be fetched from: names or NAME:PORT with * and ?, separated by commas."""
    max_source_bytes: int = 64 * 1024 * MIB
    """Most bytes that one model may have which is fetched from an address."""
    hub: str = "https://huggingface.co"
    """Where hf://OWNER/NAME is looked up: a hub with Hugging Face's interface."""
    hub_token_file: str = ""
    """File that holds a token for it."""
    no_isolate: bool = False
    """Make no environments for libraries that are not installed; what needs them is refused."""
    environments: str = "~/.cache/aweigh/environments"
    """Folder of the environments that are made for libraries which are not installed, shared by all homes."""
    image_cache: str = "~/.cache/aweigh/images"
    """Folder of base images, wheels and layers that images were made of, shared by all homes; it may be removed."""
    child_memory_bytes: int = 4096 * MIB
    """Memory cap of an isolated child, and of each process that a model runs in."""
    child_timeout_s: float = 600.0
    """Time cap of one piece of work in an isolated child."""

    @property
    def environments_folder(self) -> Path:
        """`environments` with ~ expanded, absolute."""
        return Path(self.environments).expanduser().absolute()

    @property
    def home_folder(self) -> Path:
        """`home` with ~ expanded, absolute."""
        return Path(self.home).expanduser().absolute()


SETTINGS_FILE: Final = "aweigh.toml"
ENVIRONMENT_PREFIX: Final = "AWEIGH_"
_OF_CLOUDS: Final = (
    ("SAGEMAKER_BIND_TO_PORT", "port"),
    ("AIP_HTTP_PORT", "port"),
    ("PORT", "port"),
    ("AIP_HEALTH_ROUTE", "health_route"),
    ("AIP_PREDICT_ROUTE", "predict_route"),
)
"""Variables by which clouds tell a container what a setting has to be; of two of one setting the later counts. AWEIGH_… stands above them."""
_FIELDS: Final = {field.name: field for field in msgspec.structs.fields(Settings)}
_MINIMUM: Final = {
    "port": 0, "inline_limit_us": 0, "threads": 0, "processes": 1, "session_threads": 0, "workers": 1, "hang_timeout_s": 0.0, "load_timeout_s": 0.0, "worker_memory_bytes": 0, "fallback_after_ms": 0.0, "fallback_failures": 1, "fallback_pause_s": 0.01,
    "poll_store_s": 0.0, "load_tries": 1, "load_retry_s": 0.0, "memory_budget_bytes": 0, "share_weights_bytes": 0, "response_cache_bytes": 0, "max_queue": 0, "max_body_bytes": 1, "max_head_bytes": 1024, "max_connections": 1,
    "max_streams": 1, "max_json_depth": 4, "max_elements": 1, "max_rows": 1, "max_batch_rows": 0, "max_batch_delay_ms": 0.0, "queue_timeout_ms": 0.0, "priority_levels": 1, "idle_timeout_s": 0.1, "request_timeout_s": 0.1, "drain_timeout_s": 0.0,
    "drain_delay_s": 0.0, "store_quota_bytes": 0, "transfer_timeout_s": 0.1, "max_source_bytes": 1, "child_memory_bytes": 64 * MIB, "child_timeout_s": 1.0,
}  # fmt: skip
_MAXIMUM: Final = {
    "port": 65535,
    "max_rows": 2**31 - 1,
    "workers": 128,
    "threads": 1024,
    "processes": 256,
    "session_threads": 1024,
    "load_tries": 1000,
}


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where the value of one setting came from."""

    name: str
    value: str | int | float | bool
    origin: str
    """"default", a file's path, an environment variable's name, or a flag."""


def read_settings(
    flags: Mapping[str, object] | None = None,
    *,
    file: str | Path | None = None,
    environment: Mapping[str, str] | None = None,
    parameters: Iterable[str] | None = None,
) -> tuple[Settings, list[Origin]]:
    """Merge all sources. `flags` hold only what was given, to a Python function with `parameters` of its own where these are said.

    Raises InvalidSetting naming key, value and origin; FileMissing for `file`.
    """
    for name in flags or () if parameters is not None else ():
        _known(name, parameters=parameters)
    env = os.environ if environment is None else environment
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {}

    def take(values: Mapping[str, object], origin: Callable[[str], str]) -> None:
        for name, value in values.items():
            origins[name] = origin(name)
            merged[name] = _convert(name, value, origins[name])

    variables = _from_environment(env)
    clouds = {name: (variable, env[variable]) for variable, name in _OF_CLOUDS if env.get(variable)}
    home = (flags or {}).get("home") or variables.get("home") or Settings().home
    path = _folder(file) if file else _folder(str(home)) / SETTINGS_FILE
    take(_from_file(path, required=file is not None), lambda _: str(path))
    take({name: value for name, (_, value) in clouds.items()}, lambda name: clouds[name][0])
    take(variables, lambda name: ENVIRONMENT_PREFIX + name.upper())
    take({name: value for name, value in (flags or {}).items() if value is not None}, lambda name: f"--{name.replace('_', '-')}")
    settings = Settings(**merged)
    return settings, [Origin(name=name, value=getattr(settings, name), origin=origins.get(name, "default")) for name in _FIELDS]


def _folder(text: str | Path) -> Path:
    """The path with ~ expanded. Raises InvalidSetting where no path is meant."""
    try:
        if "\0" in str(text):
            raise InvalidSetting(f"{str(text)!r} is not a path: it holds a NUL")
        return Path(text).expanduser()
    except RuntimeError as error:
        raise InvalidSetting(f"{str(text)!r} is not a path: {error}", hint="write the folder out, without '~'") from error


def _from_environment(env: Mapping[str, str]) -> dict[str, object]:
    found: dict[str, object] = {}
    for variable, value in env.items():
        if variable.startswith(ENVIRONMENT_PREFIX):
            name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
            _known(name, variable)
            found[name] = value
    return found


def _from_file(path: Path, *, required: bool) -> dict[str, object]:
    try:
        with path.open("rb") as stream:
            import tomllib  # here, because most servers have no file

            return tomllib.load(stream)
    except FileNotFoundError:
        if required:
            raise FileMissing(f"settings file {path} does not exist", hint="check --settings") from None
        return {}
    except NotADirectoryError:
        return {}
    except (OSError, ValueError) as error:  # TOML's own error and UnicodeDecodeError are ValueErrors
        raise InvalidSetting(
            f"settings file {path} cannot be read: {error}", hint="it must be a TOML file with one 'key = value' per line"
        ) from error


def _known(name: str, origin: str = "", *, parameters: Iterable[str] | None = None) -> None:
    if name not in _FIELDS:
        near = nearest(name, [*(parameters or ()), *_FIELDS])
        what = f"unknown setting {name!r} from {origin}" if parameters is None else f"there is no parameter or setting {name!r}"
        raise InvalidSetting(what, hint=f"did you mean {near!r}?" if near else "'aweigh config' lists every setting")


def _convert(name: str, value: object, origin: str) -> object:
    _known(name, origin)
    kind = _FIELDS[name].type
    try:
        if kind is bool and isinstance(value, str):
            value = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False, "": False}[
                value.lower()
            ]
        converted: object = msgspec.convert(value, kind, strict=not isinstance(value, str))
    except (msgspec.ValidationError, KeyError) as error:
        choices = ", ".join(repr(choice) for choice in get_args(kind))
        expected = f"one of {choices}" if choices else f"a value of type {getattr(kind, '__name__', kind)}"
        raise InvalidSetting(f"setting {name!r} from {origin} is {value!r}: expected {expected}") from error
    if name == "home":
        if not converted:
            raise InvalidSetting(f"setting 'home' from {origin} is empty", hint="name a folder, or leave the setting out")
        _folder(str(converted))
    if isinstance(converted, int | float) and not isinstance(converted, bool):
        low, high = _MINIMUM.get(name), _MAXIMUM.get(name)
        if (low is not None and not converted >= low) or (high is not None and converted > high):
            raise InvalidSetting(f"setting {name!r} from {origin} is {converted}: expected {_range(low, high)}")
    return converted


def _range(low: float | None, high: float | None) -> str:
    return f"{low} to {high}" if high is not None else f"at least {low}"
