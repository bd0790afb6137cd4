"""Object storage: one small interface, kept in a folder or on an S3 server."""

from facet.settings import Settings
from facet.storage.base import ObjectStore, StoredObject
from facet.storage.folder import FolderStore

__all__ = ["FolderStore", "ObjectStore", "StoredObject", "open_store"]


def open_store(settings: Settings) -> ObjectStore:
    """The store that the settings choose."""
    if settings.store == "folder":
        return FolderStore(settings.objects_folder)
    from facet.storage.s3 import S3Store  # with minio, which takes half a second to load

    server, secure = settings.s3_server
    return S3Store(
        server,
        access_key=settings.s3_access_key,
        secret_key=settings.s3_secret_key.get_secret_value(),
        bucket=settings.s3_bucket,
        region=settings.s3_region,
        secure=secure,
    )
