"""Makes the buckets that ``KDSTUDY_BUCKETS`` lists in the S3 service of ``KDSTUDY_STORE``; what is there stays."""

from __future__ import annotations

import os
import sys
import urllib.parse


def make(names: list[str], endpoint: str | None, region: str | None) -> None:
    """Make each bucket unless it is there.

    Args:
        names: Of the buckets.
        endpoint: Address of the service; None for Amazon's.
        region: Of the buckets; None for what the AWS tools are set to.

    Raises:
        SystemExit: The service does not answer, or refuses.
    """
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    client = boto3.client("s3", endpoint_url=endpoint, region_name=region)
    for name in names:
        try:
            client.create_bucket(Bucket=name)
        except (client.exceptions.BucketAlreadyOwnedByYou, client.exceptions.BucketAlreadyExists):
            continue
        except (BotoCoreError, ClientError) as error:
            sys.exit(f"buckets: {name} cannot be made at {endpoint or 'Amazon'} ({error}); check address and keys")


def main() -> None:
    """Read the settings and make the buckets."""
    parts = urllib.parse.urlsplit(os.environ["KDSTUDY_STORE"])
    options = dict(urllib.parse.parse_qsl(parts.query))
    make(os.environ["KDSTUDY_BUCKETS"].split(), options.get("endpoint_override"), options.get("region"))


if __name__ == "__main__":
    main()
