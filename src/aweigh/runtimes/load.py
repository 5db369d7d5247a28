"""`load_session`: a variant's session, by the runtime that it names, here or in the environment that has that runtime's libraries."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import cast

from aweigh.core import plugins
from aweigh.core.package import Variant
from aweigh.core.protocols import Runtime, Session
from aweigh.core.signature import Signature
from aweigh.core.steps import Step
from aweigh.isolate import Environments
from aweigh.runtimes.finite import guarded
from aweigh.runtimes.homes import home_of, needs_environment
from aweigh.runtimes.process import ProcessRuntime

Around = Callable[[Session, Step, Signature, Callable[[str], Path]], Session]
"""Of a plug-in of the kind "step": puts the step around a session."""


def load_session(
    variant: Variant,
    signature: Signature,
    path: Callable[[str], Path],
    *,
    session_threads: int = 1,
    in_child: bool = False,
    environments: Environments | None = None,
) -> Session:
    """Load a variant with its runtime; `path` maps a package path to a file. Raises AweighError, MissingLibrary naming the extra among them.

    `session_threads` (threads inside one call) and `in_child` (this process is an isolated child: no further one is needed) reach runtimes whose
    constructor has a parameter of that name. A runtime whose libraries are missing here is loaded in a child of its environment, where `environments` has it or may make it.
    """
    step = variant.step
    if step is None:
        return guarded(_bare_session(variant, signature, path, session_threads, in_child, environments), variant, signature)
    around = cast("Around", plugins.load("step", step.kind))
    session = _bare_session(variant.bare(), step.model_signature, path, session_threads, in_child, environments)
    try:
        return guarded(around(session, step, signature, path), variant, signature)
    except BaseException:
        session.close()
        raise


def _bare_session(
    variant: Variant,
    signature: Signature,
    path: Callable[[str], Path],
    session_threads: int,
    in_child: bool,
    environments: Environments | None,
) -> Session:
    if environments is not None and needs_environment(variant.runtime):
        home = home_of(variant.runtime, environments)
        return ProcessRuntime(session_threads=session_threads, home=home).load(variant, signature, path)
    make = cast("Callable[..., Runtime]", plugins.load("runtime", variant.runtime))
    known = inspect.signature(make).parameters
    options = {"session_threads": session_threads, "in_child": in_child}
    runtime = make(**{name: value for name, value in options.items() if name in known})
    return runtime.load(variant, signature, path)
