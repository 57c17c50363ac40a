"""Folders of a store, on a disk or in a bucket: files are written whole or not at all, and read whole.

A location is a path, or ``s3://BUCKET/PREFIX`` with, for servers other than Amazon's,
``?endpoint_override=http://HOST:PORT&region=REGION``.
"""

from kdstudy.storage.bucket import BucketFolder
from kdstudy.storage.disk import DiskFolder, locked, node_folder
from kdstudy.storage.folder import Folder
from kdstudy.storage.location import folder_at, is_bucket
from kdstudy.storage.paths import folder_name, inside, require_download_inside
from kdstudy.storage.retry import retry, wait_until
from kdstudy.storage.store import ID_FILE, Store

__all__ = [
    "ID_FILE",
    "BucketFolder",
    "DiskFolder",
    "Folder",
    "Store",
    "folder_at",
    "folder_name",
    "inside",
    "is_bucket",
    "locked",
    "node_folder",
    "require_download_inside",
    "retry",
    "wait_until",
]
