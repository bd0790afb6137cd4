"""Objects on any S3 server, through the `minio` client."""

from collections.abc import Iterator
from datetime import datetime
from io import BytesIO

import urllib3
from minio import Minio
from minio.error import S3Error
from minio.helpers import MIN_PART_SIZE, BaseURL

from facet.errors import ObjectNotFound, Unavailable
from facet.storage.base import StoredObject
from facet.storage.s3_outages import outages_told

_MARKER = "images/.facet"
"""An object of the store's own: who may read it may read the others."""

_REGION = "us-east-1"
"""What servers without regions take. To ask a server for the region needs one right more."""


class S3Store:
    """Objects of one bucket, with no more rights than docs/production.md lists."""

    def __init__(
        self,
        endpoint: str,
        *,
        access_key: str,
        secret_key: str,
        bucket: str,
        region: str | None = None,
        secure: bool = True,
    ) -> None:
        # Short waits: a caller that can wait longer retries, and one that cannot says so to its client.
        pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=3, read=20),
            retries=urllib3.Retry(total=1, backoff_factor=0.2),
            maxsize=16,
        )
        self._client = Minio(
            endpoint,
            access_key=access_key,
            secret_key=secret_key,
            region=region or BaseURL(f"https://{endpoint}", None).region or _REGION,
            secure=secure,
            http_client=pool,
        )
        self._bucket = bucket
        self._puts_work = False

    def put(self, key: str, data: bytes, media_type: str) -> None:
        try:
            with outages_told():
                self._put(key, data, media_type)
        except Unavailable:
            self._puts_work = False
            raise

    def _put(self, key: str, data: bytes, media_type: str) -> None:
        # One part is one request, which leaves nothing when it is cut short; the parts of several would stay.
        size = max(len(data), MIN_PART_SIZE)
        self._client.put_object(self._bucket, key, BytesIO(data), len(data), media_type, part_size=size)

    def get(self, key: str) -> bytes:
        with outages_told():
            try:
                return self._read(key)
            except S3Error as error:
                if error.code == "NoSuchKey":
                    raise ObjectNotFound(key) from error
                if error.code != "AccessDenied":
                    raise
        # To a user who may not list, what is not there is refused like what may not be read.
        self.check()
        with outages_told():
            try:
                return self._read(key)
            except S3Error as error:
                if error.code in ("NoSuchKey", "AccessDenied"):
                    raise ObjectNotFound(key) from error
                raise

    def _read(self, key: str) -> bytes:
        response = self._client.get_object(self._bucket, key)
        try:
            return response.read()
        finally:
            response.close()
            response.release_conn()

    def delete(self, key: str) -> None:
        with outages_told():
            self._client.remove_object(self._bucket, key)

    def keys(self, prefix: str) -> Iterator[str]:
        for found in self.objects(prefix):
            yield found.key

    def objects(self, prefix: str) -> Iterator[StoredObject]:
        with outages_told():
            for entry in self._client.list_objects(self._bucket, prefix=prefix, recursive=True):
                if entry.object_name and entry.last_modified and entry.object_name != _MARKER:
                    yield StoredObject(entry.object_name, entry.last_modified)

    def abort_uploads(self, prefix: str, before: datetime) -> Iterator[str]:
        after = None
        with outages_told():
            while True:
                page = self._client._list_multipart_uploads(self._bucket, prefix=prefix, key_marker=after)
                for upload in page.uploads:
                    if upload.initiated_time and upload.initiated_time < before:
                        self._abort(upload.object_name, upload.upload_id or "")
                        yield upload.object_name
                if not page.is_truncated:
                    return
                after = page.next_key_marker

    def _abort(self, key: str, upload_id: str) -> None:
        try:
            self._client._abort_multipart_upload(self._bucket, key, upload_id)
        except S3Error as error:
            if error.code != "NoSuchUpload":  # it has ended meanwhile
                raise

    def check(self) -> None:
        """The marker tells: it is put at first and after a failed put, and looked at otherwise."""
        with outages_told():
            if self._puts_work:
                try:
                    self._client.stat_object(self._bucket, _MARKER)
                    return
                except S3Error:  # an answer to HEAD has no reason in it; those to what follows have
                    pass
            self._put_marker()
            self._client.stat_object(self._bucket, _MARKER)
            self._puts_work = True

    def _put_marker(self) -> None:
        try:
            self._put(_MARKER, b"", "application/octet-stream")
        except S3Error as error:
            if error.code != "NoSuchBucket":
                raise
            try:
                self._client.make_bucket(self._bucket)
            except S3Error as refusal:
                if refusal.code != "BucketAlreadyOwnedByYou":  # another process was quicker
                    raise
            self._put(_MARKER, b"", "application/octet-stream")
