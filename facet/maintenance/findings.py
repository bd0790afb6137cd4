"""What maintenance has found, by kind, and how much of it is mended."""

from dataclasses import dataclass, field

_EXAMPLES = 5


@dataclass(slots=True)
class Finding:
    """One kind of thing that was looked for; `remedy` says in words what is done about it.

    `timers`: a dispatcher's timer keeps this right, so that finding any says that a timer missed it.
    `alarm`: why nothing was done about it, though something should be.
    """

    kind: str
    remedy: str
    timers: bool = False
    found: int = 0
    mended: int = 0
    examples: list[str] = field(default_factory=list)
    alarm: str | None = None

    def note(self, example: object) -> None:
        self.found += 1
        if len(self.examples) < _EXAMPLES:
            self.examples.append(str(example))
