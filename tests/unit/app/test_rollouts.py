"""What outlives a server of its rollouts: records on disk, and what else may lie beside them."""

from pathlib import Path

from aweigh.app.rollouts import Rolled
from aweigh.core.rollout import ENDLESS, Compared, Offence, Plan, Record, Report
from aweigh.core.settings import Settings

REPORT = Report(plan=Plan(name="fraud", candidate=2, shadow=1), stable=1, state="running", began_at="2026-01-01T00:00:00+00:00")


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    rolled = Rolled(Settings(home=str(tmp_path)))
    assert rolled.read("fraud") == Record()
    offence = Offence(inputs="a=1", stable={"y": "1.0"}, candidate={"y": "nan"}, max_abs=ENDLESS)
    report = Report(
        **{field: getattr(REPORT, field) for field in REPORT.__struct_fields__ if field != "compared"},
        compared=Compared(calls=1, rows=1, max_abs=ENDLESS, sum_abs=ENDLESS, offences=(offence,)),
    )
    rolled.write("fraud", Record(current=report))
    assert rolled.read("fraud") == Record(current=report)
    assert rolled.names() == ["fraud"]


def test_whatever_else_lies_in_the_folder_is_left_alone(tmp_path: Path) -> None:
    rolled = Rolled(Settings(home=str(tmp_path)))
    rolled.write("fraud", Record(current=REPORT))
    for name in ("Copy of fraud.json", ".fraud.json", "fraud.json.bak", "FRAUD.json", "con.json"):
        (tmp_path / "rollouts" / name).write_text("{}")
    assert rolled.names() == ["fraud"]


def test_a_broken_record_is_begun_anew(tmp_path: Path) -> None:
    rolled = Rolled(Settings(home=str(tmp_path)))
    rolled.write("fraud", Record(current=REPORT))
    for broken in (b"", b"{", b"[]", b"\xff", b'{"current": {"plan": 1}}', b'{"current": ' * 2000):
        (tmp_path / "rollouts/fraud.json").write_bytes(broken)
        assert rolled.read("fraud") == Record()
