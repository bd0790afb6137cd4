"""Kill, stop, slow and fill every part of a running Facet, and show that nothing is lost and nothing doubled.

Each profile runs as real processes under a steady stream of submissions. Each kind of fault is injected once, then
faults at random. After each, when all is quiet again: every image that was answered 202 is completed, or failed with a
reason that is true of this fault; its faces equal those of a calm run; no object and no row is left over; its callback
arrived, and all copies of it have one id and one body. A table a profile, then one JSON line.
"""

import argparse
import json
import signal
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from tests.faults.campaign import PROFILES, Row, run_profile

_COLUMNS = ("accepted", "completed", "failed", "lost", "doubled", "wrong", "orphans", "refused", "again")
console = Console(width=140)


def main() -> int:
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))  # so that what was started is ended
    options = _options()
    profiles = list(PROFILES) if options.profile == "all" else [options.profile]
    lines = []
    for profile in profiles:
        with TemporaryDirectory(prefix="facet-faults-") as folder:
            console.print(f"{profile} …")
            rows = run_profile(
                profile,
                Path(folder).resolve() / "home",
                seed=options.seed,
                over=_tell,
                names=options.only,
                images=options.images,
                mixture_seconds=options.mixture,
                logs=options.logs,
            )
        _show(profile, rows)
        lines.append(_line(rows))
    fewest = min(lines, key=lambda line: line["accepted"])
    worst = {name: max(line[name] for line in lines) for name in _NONE_ALLOWED}
    result = fewest | worst | {"faults": min(line["faults"] for line in lines)}
    console.print(json.dumps(result), soft_wrap=True, highlight=False)
    return 1 if any(worst.values()) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--profile", choices=["all", *PROFILES], default="all", help="what to run (default: both)")
    parser.add_argument("--seed", type=int, default=1, help="of the faults at random (default: 1)")
    parser.add_argument("--images", type=int, default=1040, help="submissions of a profile (default: 1040)")
    parser.add_argument("--mixture", type=float, default=45, help="seconds of faults at random; 0: none (default: 45)")
    parser.add_argument("--only", action="append", metavar="NAME", help="only faults with NAME in their name")
    parser.add_argument("--logs", type=Path, metavar="FOLDER", help="keep the service's logs there")
    return parser.parse_args()


def _tell(row: Row) -> None:
    figures = ", ".join(f"{name} {getattr(row.outcome, name)}" for name in _COLUMNS)
    console.print(f"  {row.fault}: {figures}; recovered in {row.recovery:.1f} s", highlight=False)
    for note in row.outcome.notes[:20]:
        console.print(f"    {note}", highlight=False, markup=False)


def _show(profile: str, rows: list[Row]) -> None:
    table = Table(title=f"{profile}", title_justify="left")
    for column in ("fault", *_COLUMNS, "recovery (s)"):
        table.add_column(column, justify="left" if column == "fault" else "right")
    for row in rows:
        figures = [str(getattr(row.outcome, name)) for name in _COLUMNS]
        table.add_row(row.fault, *figures, f"{row.recovery:.1f}", end_section=row is rows[-2])
    console.print(table)


def _line(rows: list[Row]) -> dict[str, int]:
    """Kinds of fault, and the figures of all images as they were in the end; orphans are what maintenance has left."""
    end = rows[-1].outcome
    kinds = len({row.fault for row in rows[:-1]} - {"at random"})
    line = {"faults": kinds, "accepted": end.accepted, "completed": end.completed, "failed": end.failed}
    seen = {name: sum(getattr(row.outcome, name) for row in rows[:-1]) for name in ("lost", "doubled", "wrong")}
    return line | {name: max(getattr(end, name), seen.get(name, 0)) for name in _NONE_ALLOWED}


_NONE_ALLOWED = ("lost", "doubled", "wrong", "orphans")

if __name__ == "__main__":
    sys.exit(main())
