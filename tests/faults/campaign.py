"""One profile's run: calm first, then each fault by itself, then faults at random."""

import random
import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from tests.faults.deployment import Deployment, embedded, production
from tests.faults.kinds import Fault, await_work, kinds_for, mixture
from tests.faults.load import Stream, Submission, small_photos
from tests.faults.verify import Faces, Outcome, await_quiet, calm_faces, mend, orphaned_objects, verify

PROFILES: dict[str, Callable[[Path], AbstractContextManager[Deployment]]] = {
    "embedded": embedded,
    "production": production,
}
_LEAD_SECONDS = 2.0
_SHORTEST, _LONGEST = 6.0, 15.0


@dataclass
class Row:
    fault: str
    outcome: Outcome
    recovery: float
    """Seconds from the fault's end until nothing was queued, in flight or owed."""


@dataclass
class Campaign:
    """The rows come one by one, as they are known; `over` sees each."""

    target: Deployment
    rng: random.Random
    over: Callable[[Row], None]

    def run(self, names: list[str] | None, images: int, mixture_seconds: float) -> list[Row]:
        """Every kind (or those of which the name holds one of `names`), with `images` in all; the mixture last."""
        kinds = [k for k in kinds_for(self.target) if not names or any(name in k.name for name in names)]
        faults = list(kinds)
        if mixture_seconds:
            faults.append(mixture(kinds, self.rng, mixture_seconds))
        self._photos = small_photos()
        self._calm = self._be_calm()
        self._all: list[tuple[Fault, list[Submission]]] = []
        self._orphans: set[str] = set()
        rows = []
        share = -(-images // (len(kinds) + (3 if mixture_seconds else 0)))
        for number, fault in enumerate(faults):
            rows.append(self._meet(fault, f"{number}", share if fault in kinds else 3 * share))
            self.over(rows[-1])
        rows.append(self._at_the_end(rows))
        self.over(rows[-1])
        return rows

    def _be_calm(self) -> dict[int, Faces]:
        sent = Stream(self.target, self._photos, "calm", len(self._photos), 1).wait()
        await_quiet(self.target)
        return calm_faces(self.target, sent)

    def _meet(self, fault: Fault, name: str, count: int) -> Row:
        before = count // 3
        lead = Stream(self.target, self._photos, f"{name}-lead", before, _LEAD_SECONDS)
        await_work(self.target)
        lasts = fault.stream or min(max(fault.seconds, _SHORTEST), _LONGEST)
        stream = Stream(self.target, self._photos, name, count - before, lasts)  # goes on while the fault does
        with fault.inject(self.target):
            time.sleep(fault.seconds)
        healed = time.monotonic()
        sent = lead.wait() + stream.wait()
        await_quiet(self.target)
        recovery = time.monotonic() - healed
        outcome = verify(self.target, sent, self._calm, fault.reasons)
        orphans = orphaned_objects(self.target) - self._orphans
        self._orphans |= orphans
        outcome.orphans += len(orphans)
        outcome.notes += [f"orphan: {key}" for key in sorted(orphans)]
        self._all.append((fault, sent))
        return Row(fault.name, outcome, recovery)

    def _at_the_end(self, rows: list[Row]) -> Row:
        """All of it once more, after maintenance has mended what is its to mend.

        What was right must not have been undone later, nor told again as something else; nothing is left over.
        """
        mend(self.target)
        total = Outcome()
        for fault, sent in self._all:
            total.add(verify(self.target, sent, self._calm, fault.reasons))
        orphans = orphaned_objects(self.target)
        total.orphans += len(orphans)
        total.notes += [f"orphan after maintenance: {key}" for key in sorted(orphans)]
        return Row("all, at the end", total, max(row.recovery for row in rows))


def run_profile(
    profile: str,
    home: Path,
    *,
    seed: int,
    over: Callable[[Row], None],
    names: list[str] | None = None,
    images: int = 1000,
    mixture_seconds: float = 45,
    logs: Path | None = None,
) -> list[Row]:
    """Start the profile in `home`, run its campaign, and end it; its logs are kept in `logs`."""
    with PROFILES[profile](home) as target:
        try:
            return Campaign(target, random.Random(seed), over).run(names, images, mixture_seconds)
        finally:
            if logs:
                shutil.copytree(home / "logs", logs / profile, dirs_exist_ok=True)
