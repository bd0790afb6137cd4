"""The tables: images, their faces, the flow runs that process them, deliveries, reprocessings, maintenance."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import JSON, Double, Enum, ForeignKey, Index, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from facet.annotations import Annotation
from facet.persistence.database import UTCDateTime, utcnow
from facet.principals import KeyScope


class Base(DeclarativeBase):
    type_annotation_map = {datetime: UTCDateTime(), dict[str, Any]: JSON(), list[Any]: JSON()}  # noqa: RUF012


class ImageStatus(StrEnum):
    QUEUED = "queued"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Lane(StrEnum):
    """Interactive submissions go before bulk work."""

    INTERACTIVE = "interactive"
    BULK = "bulk"


class RunState(StrEnum):
    """`reserved`: its images are set aside; `running`: it holds a lease on them; `over`: it holds nothing."""

    RESERVED = "reserved"
    RUNNING = "running"
    OVER = "over"


class DeliveryState(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class ReprocessingState(StrEnum):
    """`active` ones are worked on one after the other, in the order in which they were asked for."""

    ACTIVE = "active"
    PAUSED = "paused"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


class ReprocessedImageState(StrEnum):
    """Of one image in a reprocessing: `open` until its new detection has ended, one way or the other."""

    OPEN = "open"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


def _word(enum: type[StrEnum]) -> Enum:
    """An enumeration kept as its plain value, without a database type to migrate."""
    return Enum(enum, native_enum=False, length=16, values_callable=lambda e: [m.value for m in e])


def _legacy_annotate(context: Any) -> bool:
    return bool(context.get_current_parameters()["annotation"] == Annotation.BOXES)


class Image(Base):
    """One submitted photo and the state of its result.

    `claim_epoch` rises with each claim, and every write of a run holds only at the epoch of its claim.
    `result_epoch` is that of the result to be read: its faces and its annotated picture.
    An image that is to be fetched from `image_url` has no original, and nothing is known of it, until the claim of
    `fetched_epoch` has stored it.
    `attempts` counts what it may be to blame for, `outages` how often it was put off by a part that did not answer.
    `isolated`: it gets a run of its own, since a process died while it was in progress.
    `owner` is that of the API key that submitted it, None where none was needed.
    `reprocessing_id` is set from when a reprocessing takes the image until its new detection has ended.
    """

    __tablename__ = "images"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    owner: Mapped[str | None] = mapped_column(String(100))
    request_id: Mapped[str] = mapped_column(String(200), index=True)
    status: Mapped[ImageStatus] = mapped_column(_word(ImageStatus), default=ImageStatus.QUEUED)
    lane: Mapped[Lane] = mapped_column(_word(Lane), default=Lane.INTERACTIVE)
    created_at: Mapped[datetime] = mapped_column(default=utcnow())
    available_at: Mapped[datetime] = mapped_column(default=utcnow())
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]

    filename: Mapped[str | None] = mapped_column(String(255))
    image_url: Mapped[str | None] = mapped_column(String(2000))
    fetched_epoch: Mapped[int | None]
    media_type: Mapped[str | None] = mapped_column(String(40))
    size_bytes: Mapped[int | None]
    sha256: Mapped[str | None] = mapped_column(String(64))
    width: Mapped[int | None]
    height: Mapped[int | None]

    callback_url: Mapped[str | None] = mapped_column(String(2000))
    min_confidence: Mapped[float] = mapped_column(Double)
    min_face_size: Mapped[int]
    annotation: Mapped[Annotation] = mapped_column(_word(Annotation), server_default=Annotation.BOXES)
    legacy_annotate: Mapped[bool] = mapped_column("annotate", default=_legacy_annotate)
    """For processes of the version before, which know boxes or no picture at all; nothing else reads it."""

    claim_epoch: Mapped[int] = mapped_column(default=0)
    result_epoch: Mapped[int | None]
    attempts: Mapped[int] = mapped_column(default=0)
    outages: Mapped[int] = mapped_column(default=0, server_default="0")
    isolated: Mapped[bool] = mapped_column("alone", default=False)
    run_id: Mapped[UUID | None] = mapped_column(ForeignKey("runs.id", ondelete="SET NULL"), index=True)
    reprocessing_id: Mapped[UUID | None]
    failure_code: Mapped[str | None] = mapped_column(String(40))
    failure_reason: Mapped[str | None] = mapped_column(Text)
    annotated_key: Mapped[str | None] = mapped_column(String(200))
    detector: Mapped[str | None] = mapped_column(String(100))
    timings: Mapped[dict[str, Any]] = mapped_column(default=dict)

    run: Mapped["Run | None"] = relationship(back_populates="images", foreign_keys=[run_id])
    faces: Mapped[list["Face"]] = relationship(
        primaryjoin="and_(Image.id == Face.image_id, Image.result_epoch == Face.epoch)",
        order_by="Face.position",
        viewonly=True,
    )
    deliveries: Mapped[list["Delivery"]] = relationship(
        back_populates="image", order_by="Delivery.created_at", passive_deletes=True
    )

    __table_args__ = (
        Index("ix_images_queue", "status", "lane", "available_at", "created_at"),
        Index("ix_images_created", "created_at", "id"),
        Index("ix_images_finished", "finished_at"),
        Index("ix_images_owner", "owner", "created_at", "id"),
    )

    @property
    def prefix(self) -> str:
        """All of the image's objects lie under this key."""
        return f"images/{self.id}/"

    def requeue(self) -> None:
        """Back to the queue; whoever still holds a claim on it loses that."""
        self.status, self.run_id = ImageStatus.QUEUED, None
        self.claim_epoch += 1

    @property
    def original_key(self) -> str:
        return self.fetched_key(self.fetched_epoch) if self.fetched_epoch else f"{self.prefix}original"

    @property
    def is_stored(self) -> bool:
        """Whether it has an original, as all have but those still to be fetched."""
        return self.image_url is None or self.fetched_epoch is not None

    def fetched_key(self, epoch: int) -> str:
        """Each claim stores what it fetches under a key of its own, so that none puts its bytes under another's row."""
        return f"{self.prefix}original-{epoch}"


class Face(Base):
    """A face found by the claim of this `epoch`; pixels are those of the upright image."""

    __tablename__ = "faces"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    image_id: Mapped[UUID] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"))
    epoch: Mapped[int]
    position: Mapped[int]
    confidence: Mapped[float] = mapped_column(Double)
    x: Mapped[int]
    y: Mapped[int]
    width: Mapped[int]
    height: Mapped[int]
    keypoints: Mapped[dict[str, Any]]
    detector: Mapped[str] = mapped_column(String(100))

    __table_args__ = (Index("uq_faces_position", "image_id", "epoch", "position", unique=True),)

    @property
    def box(self) -> list[int]:
        return [self.x, self.y, self.width, self.height]


class Run(Base):
    """One Prefect flow run as the application sees it; its id is the flow run's idempotency key."""

    __tablename__ = "runs"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    flow_run_id: Mapped[UUID | None] = mapped_column(unique=True)
    flow_run_name: Mapped[str | None] = mapped_column(String(200))
    state: Mapped[RunState] = mapped_column(_word(RunState), default=RunState.RESERVED, index=True)
    lane: Mapped[Lane] = mapped_column(_word(Lane), default=Lane.INTERACTIVE)
    size: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = mapped_column(default=utcnow())
    started_at: Mapped[datetime | None]
    lease_until: Mapped[datetime | None]
    deadline: Mapped[datetime | None]
    in_progress: Mapped[list[Any]] = mapped_column("in_hand", default=list)
    finished_at: Mapped[datetime | None]

    images: Mapped[list[Image]] = relationship(back_populates="run", foreign_keys=[Image.run_id])


class Delivery(Base):
    """One result to be told to its sender; its id is the event's id, and `body` its very bytes, on every attempt.

    `failures` are those of the present round of the retry schedule; a redelivery begins a new round.
    While `lease_until` is to come, one sender has claimed the delivery, and no other takes it.
    """

    __tablename__ = "deliveries"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    image_id: Mapped[UUID] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"), index=True)
    epoch: Mapped[int]
    url: Mapped[str] = mapped_column(String(2000))
    origin: Mapped[str] = mapped_column(String(300))
    body: Mapped[str] = mapped_column(Text)
    state: Mapped[DeliveryState] = mapped_column(_word(DeliveryState), default=DeliveryState.PENDING)
    reason: Mapped[str | None] = mapped_column(Text)
    failures: Mapped[int] = mapped_column(default=0)
    last_attempt: Mapped[int] = mapped_column(default=0)
    due_at: Mapped[datetime] = mapped_column(default=utcnow())
    lease_until: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=utcnow())
    finished_at: Mapped[datetime | None]

    image: Mapped[Image] = relationship(back_populates="deliveries")
    attempts: Mapped[list["DeliveryAttempt"]] = relationship(
        order_by="DeliveryAttempt.number", lazy="selectin", viewonly=True
    )

    __table_args__ = (
        Index("uq_deliveries_result", "image_id", "epoch", unique=True),
        Index("ix_deliveries_due", "state", "due_at"),
        Index("ix_deliveries_created", "created_at", "id"),
    )


class DeliveryAttempt(Base):
    """One attempt, written before the request is sent and completed after it."""

    __tablename__ = "delivery_attempts"

    delivery_id: Mapped[UUID] = mapped_column(ForeignKey("deliveries.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[datetime]
    seconds: Mapped[float | None] = mapped_column(Double)
    status_code: Mapped[int | None]
    answer: Mapped[str | None] = mapped_column(Text)
    error: Mapped[str | None] = mapped_column(Text)


class IdempotencyKey(Base):
    """A sender's key, and the answer to its first request; without one, the request is still in progress.

    `owner` tells the keys of different senders apart; it is empty for those without an API key.
    """

    __tablename__ = "idempotency_keys"

    owner: Mapped[str] = mapped_column(String(100), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    holder: Mapped[UUID]
    lease_until: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    status_code: Mapped[int | None]
    location: Mapped[str | None] = mapped_column(String(2000))
    body: Mapped[str | None] = mapped_column(Text)


class ApiKey(Base):
    """An API key made by `facet keys create`, of which only the hash is kept. A revoked one stays, as a record."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(String(12), primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    owner: Mapped[str] = mapped_column(String(100))
    scope: Mapped[KeyScope] = mapped_column(_word(KeyScope))
    hash: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(default=utcnow())
    revoked_at: Mapped[datetime | None]


class Reprocessing(Base):
    """A request to detect again in many stored images, and how far that is.

    Images are taken in the order of (created_at, id); the cursor is the last one that was looked at, taken or not.
    While `lease_until` is to come, the flow run `flow_run_id` works on it; `runs` are those that have ended before.
    """

    __tablename__ = "reprocessings"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    state: Mapped[ReprocessingState] = mapped_column(_word(ReprocessingState), default=ReprocessingState.ACTIVE)
    request: Mapped[dict[str, Any]]
    detector: Mapped[str | None] = mapped_column(String(100))
    total: Mapped[int | None]
    taken: Mapped[int] = mapped_column(default=0)
    cursor_at: Mapped[datetime | None]
    cursor_id: Mapped[UUID | None]
    exhausted: Mapped[bool] = mapped_column(default=False)
    flow_run_id: Mapped[UUID | None]
    lease_until: Mapped[datetime | None]
    runs: Mapped[int] = mapped_column(default=0)
    run_due_at: Mapped[datetime] = mapped_column(default=utcnow())
    created_at: Mapped[datetime] = mapped_column(default=utcnow())
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    __table_args__ = (
        Index("ix_reprocessings_state", "state", "created_at"),
        Index("ix_reprocessings_created", "created_at", "id"),
    )


class ReprocessedImage(Base):
    """One image in one reprocessing: its only row there, so it is taken once. `former` is what a failure restores."""

    __tablename__ = "redos"

    reprocessing_id: Mapped[UUID] = mapped_column(ForeignKey("reprocessings.id", ondelete="CASCADE"), primary_key=True)
    image_id: Mapped[UUID] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"), primary_key=True, index=True)
    state: Mapped[ReprocessedImageState] = mapped_column(
        _word(ReprocessedImageState), default=ReprocessedImageState.OPEN
    )
    former: Mapped[dict[str, Any]]
    faces_before: Mapped[int | None]
    faces_after: Mapped[int | None]
    failure_code: Mapped[str | None] = mapped_column(String(40))
    failure_reason: Mapped[str | None] = mapped_column(Text)
    finished_at: Mapped[datetime | None]

    __table_args__ = (Index("ix_redos_state", "reprocessing_id", "state"),)


class Maintenance(Base):
    """The one row that says when `maintain` last did all of its work, and since when that is expected."""

    __tablename__ = "maintenance"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False, default=1)
    expected_since: Mapped[datetime] = mapped_column(default=utcnow())
    completed_at: Mapped[datetime | None]
