"""A short campaign on the embedded profile; `make test-faults` runs the whole of it."""

from pathlib import Path

from tests.faults.campaign import Row, run_profile

FAULTS = ["child killed", "API process killed", "API answers lost", "receiver's answers lost"]


def test_nothing_is_lost_and_nothing_doubled(tmp_path: Path) -> None:
    seen: list[Row] = []
    rows = run_profile(
        "embedded", tmp_path / "home", seed=1, over=seen.append, names=FAULTS, images=60, mixture_seconds=0
    )
    *faults, end = rows
    assert {row.fault for row in faults} == set(FAULTS)
    notes = [note for row in rows for note in row.outcome.notes]
    assert (end.outcome.lost, end.outcome.doubled, end.outcome.wrong) == (0, 0, 0), notes
    assert end.outcome.accepted == end.outcome.completed + end.outcome.failed == 60, notes
    assert all(row.outcome.again for row in faults), "a fault that nobody met proves nothing"
