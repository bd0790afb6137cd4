"""Objects on any S3 server, through the `minio` client."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

import urllib3
from minio import Minio
from minio.error import MinioException, S3Error

from facet.errors import ObjectNotFound, Unavailable
from facet.storage.base import StoredObject


class S3Store:
    """Objects of one bucket."""

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
            region=region,
            secure=secure,
            http_client=pool,
        )
        self._bucket = bucket

    def put(self, key: str, data: bytes, media_type: str) -> None:
        with _unavailable():
            self._client.put_object(self._bucket, key, BytesIO(data), len(data), content_type=media_type)

    def get(self, key: str) -> bytes:
        with _unavailable():
            try:
                response = self._client.get_object(self._bucket, key)
            except S3Error as error:
                if error.code == "NoSuchKey":
                    raise ObjectNotFound(key) from error
                raise
            try:
                return response.read()
            finally:
                response.close()
                response.release_conn()

    def delete(self, key: str) -> None:
        with _unavailable():
            self._client.remove_object(self._bucket, key)

    def keys(self, prefix: str) -> Iterator[str]:
        with _unavailable():
            for entry in self._client.list_objects(self._bucket, prefix=prefix, recursive=True):
                if entry.object_name:
                    yield entry.object_name

    def objects(self, prefix: str) -> Iterator[StoredObject]:
        with _unavailable():
            for entry in self._client.list_objects(self._bucket, prefix=prefix, recursive=True):
                if entry.object_name and entry.last_modified:
                    yield StoredObject(entry.object_name, entry.last_modified)

    def check(self) -> None:
        with _unavailable():
            if not self._client.bucket_exists(self._bucket):
                try:
                    self._client.make_bucket(self._bucket)
                except S3Error as error:
                    if error.code != "BucketAlreadyOwnedByYou":  # another process was quicker
                        raise


@contextmanager
def _unavailable() -> Iterator[None]:
    try:
        yield
    except S3Error as error:
        raise Unavailable(f"The S3 server refuses: {error.code}.") from error
    except (MinioException, urllib3.exceptions.HTTPError, OSError) as error:
        raise Unavailable(f"The S3 server does not answer: {type(error).__name__}.") from error
