"""What became of a reprocessing, for people: counted by the database, however many images there are."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select

from facet.persistence.database import Database
from facet.persistence.models import Image, ReprocessedImage, ReprocessedImageState, Reprocessing
from facet.reprocessing.request import ReprocessingRequest
from facet.settings import Settings

_CHANGED_LISTED = 100


@dataclass(frozen=True, slots=True)
class Changed:
    """An image with another number of faces than before; `before` is None where there was no result."""

    image_id: UUID
    request_id: str
    before: int | None
    after: int | None


@dataclass(frozen=True, slots=True)
class ReprocessingReport:
    reprocessing: Reprocessing
    images: dict[ReprocessedImageState, int]
    faces_before: int
    faces_after: int
    changed: int
    first_changed: Sequence[Changed]
    failures: Sequence[tuple[str | None, str | None, int]]
    """Code, an example of its reason, and how many images."""
    last_end: datetime | None

    @property
    def seconds(self) -> float:
        started = self.reprocessing.started_at
        return (self.last_end - started).total_seconds() if started and self.last_end else 0.0

    @property
    def images_per_second(self) -> float:
        ended = sum(
            count
            for state, count in self.images.items()
            if state in (ReprocessedImageState.COMPLETED, ReprocessedImageState.FAILED)
        )
        return ended / self.seconds if self.seconds > 0 else 0.0


def read_report(database: Database, reprocessing_id: UUID) -> ReprocessingReport:
    """Raises NoResultFound for a reprocessing that is not there."""
    mine = ReprocessedImage.reprocessing_id == reprocessing_id
    completed = (mine, ReprocessedImage.state == ReprocessedImageState.COMPLETED)
    changed = (*completed, ReprocessedImage.faces_before.is_distinct_from(ReprocessedImage.faces_after))
    with database.read() as session:
        before, after = session.execute(
            select(func.sum(ReprocessedImage.faces_before), func.sum(ReprocessedImage.faces_after)).where(*completed)
        ).one()
        return ReprocessingReport(
            reprocessing=session.get_one(Reprocessing, reprocessing_id),
            images=dict(
                session.execute(
                    select(ReprocessedImage.state, func.count()).where(mine).group_by(ReprocessedImage.state)
                ).all()
            ),
            faces_before=before or 0,
            faces_after=after or 0,
            changed=session.scalar(select(func.count()).select_from(ReprocessedImage).where(*changed)) or 0,
            first_changed=[
                Changed(*row)
                for row in session.execute(
                    select(Image.id, Image.request_id, ReprocessedImage.faces_before, ReprocessedImage.faces_after)
                    .join(ReprocessedImage, ReprocessedImage.image_id == Image.id)
                    .where(*changed)
                    .order_by(Image.created_at, Image.id)
                    .limit(_CHANGED_LISTED)
                )
            ],
            failures=session.execute(
                select(ReprocessedImage.failure_code, func.min(ReprocessedImage.failure_reason), func.count())
                .where(mine, ReprocessedImage.state == ReprocessedImageState.FAILED)
                .group_by(ReprocessedImage.failure_code)
                .order_by(func.count().desc())
            ).all(),
            last_end=session.scalar(select(func.max(ReprocessedImage.finished_at)).where(mine)),
        )


def as_markdown(report: ReprocessingReport, settings: Settings) -> str:
    """The report as an artifact of the flow run."""
    row = report.reprocessing
    request = ReprocessingRequest.model_validate(row.request)
    asked = request.model_dump(mode="json", exclude_none=True)
    if request.dry_run:
        return f"# Reprocessing {row.id}: dry run\n\n{row.total} images match.\n\n{_parameters(asked)}"
    count = {state: report.images.get(state, 0) for state in ReprocessedImageState}
    lines = [
        f"# Reprocessing {row.id}: {row.state}",
        "",
        "| | |",
        "|---|---|",
        f"| detector | {row.detector} |",
        f"| images | {sum(count.values())} of {row.total} |",
        *(f"| … {state} | {number} |" for state, number in count.items() if number),
        f"| faces before | {report.faces_before} |",
        f"| faces after | {report.faces_after} |",
        f"| images with another number of faces | {report.changed} |",
        f"| images per second | {report.images_per_second:.1f} |",
        "",
        _parameters(asked),
    ]
    if report.failures:
        lines += ["## Failures", "", "| images | code | such as |", "|---|---|---|"]
        lines += [f"| {number} | {code} | {_cell(reason)} |" for code, reason, number in report.failures]
        lines.append("")
    if report.changed:
        first = "" if report.changed <= len(report.first_changed) else f", the first {len(report.first_changed)}"
        lines += [f"## Images with another number of faces{first}", ""]
        lines += ["| image | request | before | after |", "|---|---|---|---|"]
        lines += [
            f"| [{each.image_id}]({settings.image_url(each.image_id)}) | {_cell(each.request_id)} "
            f"| {'no result' if each.before is None else each.before} | {each.after} |"
            for each in report.first_changed
        ]
    return "\n".join(lines)


def _parameters(asked: dict[str, object]) -> str:
    rows = "\n".join(f"| {name} | {_cell(str(value))} |" for name, value in asked.items())
    return f"## Parameters\n\n| | |\n|---|---|\n{rows}\n"


def _cell(text: str | None) -> str:
    """A sender's words in a table: they cannot break out of it."""
    escaped = (text or "").replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")
    return "".join(f"\\{c}" if c in "[]`*_!" else c for c in escaped).replace("\n", " ")
