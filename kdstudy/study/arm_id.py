"""What an arm is called, for all that names, compares or colours arms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Self, final

from kdstudy.results import ArmDocument


@final
class ArmId(NamedTuple):
    """A transfer method under a learning-rate policy; unique in a study.

    Its `name` feeds the samplers' seeds: another spelling would change every proposal.

    Attributes:
        transfer: What the study calls the transfer method: its label, or else its name.
        policy: The same of the policy.
    """

    transfer: str
    policy: str

    @property
    def name(self) -> str:
        """``transfer/policy``."""
        return f"{self.transfer}/{self.policy}"

    @classmethod
    def parse(cls, name: str) -> Self:
        """Return the arm of that `name`.

        Raises:
            ValueError: It is not ``transfer/policy``.
        """
        transfer, slash, policy = name.partition("/")
        if not (transfer and slash and policy):
            raise ValueError(f"an arm is called transfer/policy, got '{name}'")
        return cls(transfer, policy)

    def to_json(self) -> ArmDocument:
        """Return the arm as JSON documents spell it."""
        return {"transfer": self.transfer, "policy": self.policy}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Build from `to_json`'s values."""
        return cls(values["transfer"], values["policy"])
