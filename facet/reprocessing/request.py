"""What an operator asks for; the form in the Prefect UI, the API's body and the command's options are made of this."""

from datetime import datetime, timedelta
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator
from sqlalchemy import ColumnElement, and_, or_

from facet.persistence.models import Image


class ReprocessingRequest(BaseModel):
    """Which images to detect in again, and how. As it stands: all finished ones that another detector version made."""

    model_config = ConfigDict(extra="forbid")

    statuses: list[Literal["completed", "failed", "cancelled"]] = Field(
        default=["completed", "failed"],
        min_length=1,
        title="Statuses",
        description="Only images that ended so. Those that wait or are being processed are left alone.",
    )
    submitted_from: AwareDatetime | None = Field(
        default=None, title="Submitted from", description="Only images submitted at this time or later."
    )
    submitted_until: AwareDatetime | None = Field(
        default=None, title="Submitted until", description="Only images submitted before this time."
    )
    submitted_within_hours: float | None = Field(
        default=None,
        gt=0,
        le=1_000_000,
        title="Submitted within hours",
        description="Only images of the last so many hours before the reprocessing is asked for; made for schedules.",
    )
    request_id_prefix: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        title="Request id prefix",
        description="Only images of which the request id begins so.",
    )
    owner: str | None = Field(
        default=None,
        min_length=1,
        max_length=100,
        title="Owner",
        description="Only images submitted with an API key of this owner.",
    )
    other_detector: bool = Field(
        default=True,
        title="Made by another detector version only",
        description="Leave out images with a result of the very detector version that would process them now. "
        "Switch it off to apply new thresholds.",
    )
    at_most: int | None = Field(
        default=None, ge=1, title="At most", description="Stop after so many images, the oldest first. Empty: all."
    )
    min_confidence: float | None = Field(
        default=None,
        ge=0,
        le=1,
        title="New minimum confidence",
        description="Faces must exceed it. Empty: as each image has it.",
    )
    min_face_size: int | None = Field(
        default=None,
        ge=10,
        le=10_000,
        title="New minimum face size",
        description="In pixels. Empty: as each image has it.",
    )
    call_back: bool = Field(
        default=False,
        title="Call back again",
        description="Tell each sender the new result. A sender who still waits for a callback gets the new one anyway.",
    )
    dry_run: bool = Field(default=False, title="Dry run", description="Only count the images, and change nothing.")

    @model_validator(mode="after")
    def _check_range(self) -> "ReprocessingRequest":
        if self.submitted_from and self.submitted_until and self.submitted_from >= self.submitted_until:
            raise ValueError("submitted_from must be before submitted_until")
        return self

    def matches(self, asked_at: datetime, detector: str) -> ColumnElement[bool]:
        """The condition for an image to be taken by a reprocessing asked for at this time, with this detector."""
        wanted = [Image.deleted_at.is_(None), Image.status.in_(self.statuses), Image.created_at < asked_at]
        if self.submitted_from:
            wanted.append(Image.created_at >= self.submitted_from)
        if self.submitted_until:
            wanted.append(Image.created_at < self.submitted_until)
        if self.submitted_within_hours:
            wanted.append(Image.created_at >= asked_at - timedelta(hours=self.submitted_within_hours))
        if self.request_id_prefix:
            wanted.append(Image.request_id.startswith(self.request_id_prefix, autoescape=True))
        if self.owner:
            wanted.append(Image.owner == self.owner)
        if self.other_detector:
            wanted.append(or_(Image.detector.is_(None), Image.detector != detector))
        return and_(*wanted)
