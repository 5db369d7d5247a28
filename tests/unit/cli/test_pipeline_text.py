"""The picture of a graph."""

from aweigh.cli.pipeline_text import Drawn, graph_lines, microseconds


def test_a_step_stands_under_the_last_that_it_takes_from_and_tells_the_others() -> None:
    steps = [
        Drawn(name="clean", runs="function f.py:clean", takes=("request.raw",), note="9 us"),
        Drawn(name="a", runs="a:1", takes=("clean.x",), note="10 us"),
        Drawn(name="b", runs="b:2", takes=("clean.x", "request.age"), rows="when a.label == 1"),
        Drawn(name="both", runs="mean", takes=("a.y", "b.y"), note="1 us"),
    ]
    assert graph_lines(steps, [("y", "both.output")]) == [
        "request (age, raw)",
        "└─ clean: function f.py:clean   9 us",
        "   ├─ a: a:1                    10 us",
        "   └─ b: b:2  when a.label == 1  + request.age",
        "      └─ both: mean  + a.y      1 us",
        "answer (y = both.output)",
    ]


def test_times_as_people_read_them() -> None:
    assert [microseconds(value) for value in (3.4, 9999.0, 12_345.0)] == ["3 us", "9999 us", "12.3 ms"]
