"""Folders of a store, on a disk or in a bucket: files are written whole or not at all, and read whole.

A location is a path, or ``s3://BUCKET/PREFIX`` with, for servers other than Amazon's,
``?endpoint_override=http://HOST:PORT&region=REGION``.
"""

from kdstudy.storage.bucket import BucketFolder
from kdstudy.storage.disk import DiskFolder, locked, node_folder
from kdstudy.storage.folder import Folder
from kdstudy.storage.location import folder_at, is_bucket

__all__ = ["BucketFolder", "DiskFolder", "Folder", "folder_at", "is_bucket", "locked", "node_folder"]
