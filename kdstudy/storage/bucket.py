"""Folders in an S3-compatible bucket.

Credentials are taken from where the AWS tools take them (``AWS_ACCESS_KEY_ID`` and ``AWS_SECRET_ACCESS_KEY``, a
profile, the instance's role), never from the location.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from typing_extensions import override

from kdstudy.errors import StoreError
from kdstudy.storage.disk import DiskFolder, locked
from kdstudy.storage.folder import Folder
from kdstudy.storage.retry import retry

T = TypeVar("T")

RETRY_SECONDS = 60.0
"""Seconds for which a request is tried again while the server is away."""
CONNECT_SECONDS = 5.0
READ_SECONDS = 60.0

_GONE = ("NoSuchKey", "404")
_PASSING_CODES = ("InternalError", "ServiceUnavailable", "SlowDown", "RequestTimeout", "500", "502", "503", "504")


@dataclass(frozen=True)
class BucketFolder(Folder):
    """A prefix in a bucket: one request stores an object whole, or not at all.

    Args:
        bucket: Its name.
        prefix: Without slashes at its ends; may be empty.
        endpoint: ``http(s)://HOST[:PORT]`` of the server; None for Amazon's.
        region: None for what the AWS tools are set to.
    """

    bucket: str
    prefix: str = ""
    endpoint: str | None = None
    region: str | None = None

    def __str__(self) -> str:
        options = {"endpoint_override": self.endpoint, "region": self.region}
        query = urllib.parse.urlencode({name: value for name, value in options.items() if value}, safe=":/")
        return f"s3://{self.bucket}/{self.prefix}{'?' if query else ''}{query}"

    @property
    @override
    def name(self) -> str:
        return self.prefix.rpartition("/")[2]

    def __truediv__(self, name: str) -> BucketFolder:
        return BucketFolder(self.bucket, self._key(name), self.endpoint, self.region)

    @override
    def write(self, name: str, content: bytes) -> None:
        self._retried("written", lambda: self._client.put_object(**self._object(name), Body=content))

    @override
    def read(self, name: str) -> bytes | None:
        from botocore.exceptions import ClientError

        def receive() -> bytes | None:
            try:
                content: bytes = self._client.get_object(**self._object(name))["Body"].read()
            except ClientError as error:
                if error.response["Error"]["Code"] in _GONE:
                    return None
                raise
            return content

        return self._retried("read", receive)

    @override
    def files(self) -> list[str]:
        start = self._key("")

        def listing() -> list[str]:
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=start)
            return [entry["Key"].removeprefix(start) for page in pages for entry in page.get("Contents", ())]

        return sorted(filter(None, self._retried("listed", listing)))

    @override
    def remove(self, name: str) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        with contextlib.suppress(BotoCoreError, ClientError):
            self._client.delete_object(**self._object(name))

    @override
    def clear(self) -> None:
        with contextlib.suppress(StoreError):
            for name in self.files():
                self.remove(name)

    @override
    def on_disk(self, cache: Path) -> Path:
        """Fetch the files that are not on this machine yet; a copy that was cut short is never used."""
        target = cache / "fetched" / hashlib.sha256(str(self).encode()).hexdigest()[:16] / self.name
        with locked(target):
            copies = DiskFolder(target)
            for name in set(self.files()) - set(copies.files()):
                content = self.read(name)
                if content is not None:
                    copies.write(name, content)
        return target

    def _key(self, name: str) -> str:
        return f"{self.prefix}/{name}" if self.prefix else name

    def _object(self, name: str) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": self._key(name)}

    @property
    def _client(self) -> Any:
        return _connect(self.endpoint, self.region)

    def _retried(self, what: str, work: Callable[[], T]) -> T:
        """Try again while the server is away; what it refuses is refused at once."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return retry(work, _passing, seconds=lambda: RETRY_SECONDS, first=0.5, longest=8.0)
        except (BotoCoreError, ClientError) as error:
            raise StoreError(
                f"{self}: cannot be {what} ({' '.join(str(error).split())[:200]}); check that the server runs, that "
                "the bucket exists, and the credentials"
            ) from error


def _passing(error: Exception) -> bool:
    """Return whether the server is away or overloaded, rather than refuses."""
    from botocore import exceptions

    if isinstance(error, exceptions.ClientError):
        return error.response["Error"]["Code"] in _PASSING_CODES
    return isinstance(error, (exceptions.ConnectionError, exceptions.HTTPClientError))


@functools.cache
def _connect(endpoint: str | None, region: str | None) -> Any:
    """Return a client, one for all threads of a process."""
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ModuleNotFoundError as error:
        raise StoreError("--store: s3:// needs the package boto3; pip install 'kdstudy[cluster]'") from error
    patience = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": 2},
    )
    try:
        return boto3.session.Session().client(
            "s3", endpoint_url=endpoint, region_name=region or ("us-east-1" if endpoint else None), config=patience
        )
    except (BotoCoreError, ValueError) as error:
        raise StoreError(f"--store: cannot be used ({error}); check endpoint_override and region") from error
