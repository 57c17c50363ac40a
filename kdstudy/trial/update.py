"""What a policy follows, put together after an epoch, and what it made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from kdstudy.errors import StudyError
from kdstudy.layerwise import Measurement, Policy
from kdstudy.results import LayerRecord
from kdstudy.study import PluginSpec
from kdstudy.training import EpochTotals, ProbeResult
from kdstudy.transfer import Transfer


def require_signals(method: PluginSpec, rates: PluginSpec, policy: Policy, transfer: Transfer) -> None:
    """Refuse a policy that follows what the transfer does not have.

    Args:
        method: Names the transfer.
        rates: Names the policy.
        policy: Itself.
        transfer: Likewise.

    Raises:
        StudyError: It follows the layers' transfer terms, and a crucial layer has none.
    """
    missing = ", ".join(layer for layer in policy.layers if layer not in transfer.term_layers)
    if policy.needs_terms and missing:
        told = f"{rates.called}: follows the transfer's loss of each crucial layer, and"
        given = f"'{method.called}' has none of {missing}"
        raise StudyError([f"{told} {given}; use it with attention, jacobian or hessian, or leave it out"])


def updated(
    policy: Policy,
    found: ProbeResult,
    totals: EpochTotals,
    first_terms: Mapping[str, float | None],
    weight_decay: float,
) -> tuple[LayerRecord, ...]:
    """Have the policy set its multipliers, and return what is recorded: the chance levels too.

    Args:
        policy: That is due.
        found: What the probe measured.
        totals: Of the epoch that has ended.
        first_terms: Terms of the loss in the first epoch.
        weight_decay: The optimizer's.
    """
    layers = policy.layers
    norms = [totals.norms.get(layer, (0.0, 0.0)) for layer in layers] if policy.needs_norms else []
    measured = Measurement(
        divergences=found.divergences,
        chances=found.chances,
        terms=terms_of(totals.terms, layers) if policy.needs_terms else (),
        first_terms=terms_of(first_terms, layers) if policy.needs_terms else (),
        weights=[weights for weights, _ in norms],
        gradients=[gradients for _, gradients in norms],
        weight_decay=weight_decay,
    )
    chances = dict(zip(layers, found.chances, strict=True))
    return tuple(replace(record, chance=chances.get(record.layer)) for record in policy.follow(measured))


def terms_of(terms: Mapping[str, float | None], layers: Sequence[str]) -> list[float | None]:
    """Return each layer's own term, named ``anything/LAYER``; None where it has none that is finite.

    Args:
        terms: By name.
        layers: In the order in which they are returned.
    """
    own = {name.partition("/")[2]: value for name, value in terms.items()}
    return [own.get(layer) for layer in layers]
