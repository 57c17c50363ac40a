"""Parse the location of a store: a path or an ``s3://`` address."""

from __future__ import annotations

import urllib.parse
from pathlib import Path

from kdstudy.errors import StoreError
from kdstudy.storage.bucket import BucketFolder
from kdstudy.storage.disk import DiskFolder
from kdstudy.storage.folder import Folder

_FORM = "write s3://BUCKET/PREFIX or s3://BUCKET/PREFIX?endpoint_override=http://HOST:PORT&region=REGION"
_OPTIONS = frozenset({"endpoint_override", "scheme", "region"})


def folder_at(location: str | Path | Folder) -> Folder:
    """Return the folder at a location.

    Raises:
        StoreError: It is neither a path nor an s3 location, or carries credentials.
    """
    if isinstance(location, Folder):
        return location
    if isinstance(location, Path) or not is_bucket(location):
        return DiskFolder(Path(location))
    parts = urllib.parse.urlsplit(location)
    options = dict(urllib.parse.parse_qsl(parts.query))
    if "@" in parts.netloc or {"access_key", "secret_key"} & options.keys():
        raise StoreError(
            "--store: credentials do not belong in a location, which is shown to people; "
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if parts.scheme != "s3" or not parts.netloc or options.keys() - _OPTIONS or parts.fragment:
        raise StoreError(f"--store: cannot be read as a location, got '{location}'; {_FORM}")
    endpoint = options.get("endpoint_override")
    if endpoint is not None and "://" not in endpoint:
        endpoint = f"{options.get('scheme', 'https')}://{endpoint}"
    return BucketFolder(parts.netloc, parts.path.strip("/"), endpoint, options.get("region"))


def is_bucket(location: str) -> bool:
    """Return whether a location is that of a bucket, not a path."""
    return "://" in location
