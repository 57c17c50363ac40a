"""Samplers: how a study's next values are proposed."""

from kdstudy.samplers.base import Observation, Sampler, observe, propose, startup_values

__all__ = ["Observation", "Sampler", "observe", "propose", "startup_values"]
