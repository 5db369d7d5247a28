"""Draws the graph of a pipeline as text: each step under the last of those that it takes from. Used by `aweigh show` and `aweigh status`."""

import dataclasses
from collections.abc import Sequence

from aweigh.core.pipeline import REQUEST, step_of


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """One step as it is drawn. `takes` are sources; `note` stands at the end of its line: its times."""

    name: str
    runs: str
    takes: tuple[str, ...]
    rows: str = ""
    note: str = ""


def graph_lines(steps: Sequence[Drawn], outputs: Sequence[tuple[str, str]]) -> list[str]:
    """The picture, from the request at the top to the answer at the bottom."""
    places = {step.name: at for at, step in enumerate(steps)}
    above = {step.name: _parent(step, places) for step in steps}
    asked = sorted({source.partition(".")[2] for step in steps for source in step.takes if step_of(source) == REQUEST})
    rows: list[tuple[str, str]] = [(f"request ({', '.join(asked)})", "")]

    def draw(parent: str, indent: str) -> None:
        under = [step for step in steps if above[step.name] == parent]
        for step in under:
            last = step is under[-1]
            also = [source for source in step.takes if step_of(source) != parent]
            text = f"{indent}{'└─' if last else '├─'} {step.name}: {step.runs}"
            text += f"  {step.rows}" if step.rows else ""
            text += f"  + {', '.join(also)}" if also else ""
            rows.append((text, step.note))
            draw(step.name, indent + ("   " if last else "│  "))

    draw(REQUEST, "")
    rows.append((f"answer ({', '.join(f'{name} = {source}' for name, source in outputs)})", ""))
    width = max(len(text) for text, note in rows if note) if any(note for _, note in rows) else 0
    return [f"{text.ljust(width)}   {note}" if note else text for text, note in rows]


def _parent(step: Drawn, places: dict[str, int]) -> str:
    before = [step_of(source) for source in step.takes if step_of(source) in places]
    return max(before, key=lambda name: places[name], default=REQUEST)


def microseconds(value: float) -> str:
    """A time as a person reads it."""
    return f"{value:.0f} us" if value < 10_000 else f"{value / 1000:.1f} ms"
