"""How long each step of a driver's work took."""

from __future__ import annotations

import dataclasses
import time

from kdstudy.results import clock


@dataclasses.dataclass
class Times:
    """When each step of a driver's work was done, in seconds of a monotonic clock."""

    began: float = dataclasses.field(default_factory=time.monotonic)
    connected: float = 0.0
    prepared: float = 0.0

    def summary(self, phases: dict[str, float]) -> str:
        """Return them in words; ``phases`` holds seconds of search and confirmation.

        What is left of all of it is the closing: the teacher's test score, the page, what MLflow is still to get.
        """
        now = time.monotonic()
        closing = now - self.prepared - sum(phases.values())
        return (
            f"set-up {clock(self.connected - self.began)}, teacher {clock(self.prepared - self.connected)}, "
            f"search {clock(phases['search'])}, confirmation {clock(phases['confirmation'])}, "
            f"closing {clock(closing)}, all {clock(now - self.began)}"
        )
