from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.lab import Lab
from tests.tools import need


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """Three Ray hosts with token authentication, PostgreSQL, an MLflow server and S3."""
    need("netns")
    need("postgres")
    with Lab(workers=2, dashboard=True) as lab:
        yield lab
