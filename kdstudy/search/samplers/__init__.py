"""Samplers: how a study's next values are proposed."""

from kdstudy.search.samplers.base import PastTrial, Sampler, past_trial, propose, startup_values

__all__ = ["PastTrial", "Sampler", "past_trial", "propose", "startup_values"]
