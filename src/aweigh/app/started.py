"""A start of the server's path in a process of its own: `python -m aweigh.app.started BEGAN HOME MODEL VARIANT` prints what each part took, as JSON. For `startup`.

BEGAN is the clock of whoever started it, so that the interpreter's own start is counted.
"""

import time

_HERE = time.monotonic()

import json  # noqa: E402  # the clock comes first
import sys  # noqa: E402


def main(began: float, home: str, model: str, variant: str) -> dict[str, float]:
    """Milliseconds by part."""
    marks = [("start", _HERE - began)]
    last = _HERE

    def end(name: str) -> None:
        nonlocal last
        now = time.monotonic()
        marks.append((name, now - last))
        last = now

    import aweigh.app.serve  # noqa: F401  # what a server imports
    from aweigh.app.models import open_model
    from aweigh.core.golden import held_to
    from aweigh.core.settings import read_settings
    from aweigh.engine.lifecycle import load_model
    from aweigh.engine.variants import choose_variant

    settings = read_settings({"home": home})[0]
    end("import")
    package = open_model(settings, model)
    chosen = choose_variant(package.manifest, variant)
    for file in chosen.files:
        package.path(file)
    held = held_to(package.manifest, chosen, package.path)
    end("fetch")
    loaded = load_model(package, settings, variant=chosen.name)
    took = time.monotonic() - last
    parts = {name: seconds * 1000 for name, seconds in marks}
    parts |= {"load": took * 1000 - loaded.report.replay_ms, "replay": loaded.report.replay_ms}
    last = time.monotonic()
    if held.golden:
        loaded.run(held.golden[0].inputs)
    return parts | {"first answer": (time.monotonic() - last) * 1000}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(float(sys.argv[1]), *sys.argv[2:5])) + "\n")
