"""A plan: every configuration of a recipe on a machine, the one to take, and measured runs beside their
predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from biobert_scale.config import Config
from biobert_scale.plan.at_scale import Simulation, simulate_scales
from biobert_scale.plan.choose import Choice, choose, predict_all
from biobert_scale.plan.failures import Failures
from biobert_scale.plan.measured import Comparison, compare, rates_from, read_run
from biobert_scale.plan.predict import Machine, Prediction, Rates, engine_of

_UNITS = {
    "flops": (1e-12, "TFLOP/s a device"),
    "bandwidth": (1e-9, "GB/s between devices of a node"),
    "network": (1e-9, "GB/s from node to node"),
    "latency": (1e6, "us a message from device to device"),
    "spread": (100.0, "% of a rank's seconds of computing, their standard deviation"),
    "device_step": (1e9, "ns an element of the optimizer on a device"),
    "host_step": (1e9, "ns an element of the optimizer on the host"),
    "transfer": (1e-9, "GB/s between device and host"),
    "other_seconds": (1.0, "s a step besides"),
    "filling": (1.0, "of the arithmetic of full-length sequences"),
}
"""Field of `Rates` -> its unit for people."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that `biobert-scale plan` works out."""

    config: Config
    machine: Machine
    rates: Rates
    sources: Mapping[str, str]
    """Where each rate comes from, by its name; a rate that is missing is unknown."""
    vocabulary_size: int
    predictions: Sequence[Prediction]
    choice: Choice
    comparisons: Sequence[Comparison]
    simulation: Simulation | None


def make_plan(
    config: Config,
    machine: Machine,
    given: Rates,
    *,
    vocabulary_size: int,
    runs: Sequence[Path] = (),
    node: Failures | None = None,
) -> Plan:
    """Work out every configuration.

    Args:
        given: the rates that are known; those that are 0 are taken from the first half of the first run.
        runs: run directories that were measured, to be compared with their predictions.
        node: of one node, to simulate the chosen configuration on more devices; the seconds of a save that
            are 0 are taken from the first run.

    Raises:
        UserError: the global batch does not divide over the devices; nothing can be simulated; or see
            `read_run`.
    """
    rates = rates_from(read_run(runs[0], half="first"), given) if runs else given
    predictions = predict_all(config, machine, rates, vocabulary_size=vocabulary_size)
    measured = [read_run(path, half="second" if number == 0 else None) for number, path in enumerate(runs)]
    choice = choose(predictions, machine, rates, own_engine=engine_of(config))
    simulation = None
    if node is not None:
        if measured:
            saved = measured[0]
            node = replace(
                node, save=node.save or saved.save_seconds, write=node.write or saved.write_seconds
            )
        simulation = simulate_scales(config, machine, rates, choice, node, vocabulary_size=vocabulary_size)
    return Plan(
        config=config,
        machine=machine,
        rates=rates,
        sources=_sources(given, rates, runs),
        vocabulary_size=vocabulary_size,
        predictions=predictions,
        choice=choice,
        comparisons=[
            compare(one, rates, own_rates=number == 0 and not given.flops)
            for number, one in enumerate(measured)
        ],
        simulation=simulation,
    )


def _sources(given: Rates, rates: Rates, runs: Sequence[Path]) -> dict[str, str]:
    found = {}
    for name, (unit, words) in _UNITS.items():
        value = getattr(rates, name)
        if name == "filling" and not runs:
            found[name] = "every sequence taken at full length"
        elif value or name == "filling":
            is_given = value == getattr(given, name) and name != "filling"
            found[name] = f"{value * unit:.4g} {words} ({'given' if is_given else runs[0]})"
        elif name in ("flops", "bandwidth", "latency", "spread", "device_step"):
            found[name] = "unknown: left out"
    return found
