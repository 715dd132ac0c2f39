"""A run's scores for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from rich.console import RenderableType

from biobert_scale.display import quantity, table, words
from biobert_scale.evaluation.metrics.matches import Matches, Matching
from biobert_scale.evaluation.records import Overlap, RunMetrics

_MATCHINGS: dict[Matching, str] = {
    "strict": "strict: both ends and type",
    "exact": "exact: both ends, any type",
    "partial": "partial: a common part counts half, any type",
    "type": "type: a common part, right type",
    "left": "left: first character and type",
    "right": "right: last character and type",
}
_OUTCOMES: tuple[Literal["correct", "incorrect", "partial", "missed", "spurious"], ...] = (
    "correct",
    "incorrect",
    "partial",
    "missed",
    "spurious",
)


def score_parts(metrics: RunMetrics) -> list[RenderableType]:
    """A run's scores as `display.show` prints them."""
    low, high = metrics["interval_95"]
    rows = [
        (
            name,
            *(f"{values[measure]:.2f}" for measure in ("precision", "recall", "f1")),
            *(quantity(values.get(kind)) for kind in ("tp", "fp", "fn")),
        )
        for name, values in metrics["scores"].items()
        if "f1" in values
    ]
    repaired = {
        "orphan_inside_tags": metrics.get("orphan_inside_tags"),
        "n_truncated_tokens": metrics.get("n_truncated_tokens"),
    }
    found = [f"{words(name)}: {number:,}" for name, number in repaired.items() if number is not None]
    parts: list[RenderableType] = [
        f"{metrics['task']}, {metrics['split']}: {metrics['score_name']} {metrics['score']:.2f}"
        f" (95% interval {low:.2f} to {high:.2f})",
    ]
    if rows:
        header = ("", "P", "R", "F1", "true positives", "false positives", "false negatives")
        parts.append(table(rows, header=header))
    if "accuracy" in (answers := metrics["scores"].get("accuracy", {})):
        parts.append(
            f"accuracy {answers['accuracy']:.2f}: {answers['correct']:,} of {answers['documents']:,}"
        )
    if matches := metrics.get("matches"):
        parts += ["", _match_table(matches)]
    if by_type := metrics.get("matches_by_type"):
        parts += ["", _type_table(by_type)]
    parts.append("")
    if familiar := metrics.get("by_familiarity"):
        recalls = (
            f"{name} {found['recall']:.2f} of {found['tp'] + found['fn']:,}"
            for name, found in familiar.items()
            if found["tp"] + found["fn"]
        )
        parts.append(f"recall of mentions by whether train has their name: {', '.join(recalls)}")
    if calibration := metrics.get("calibration"):
        parts.append(
            f"calibration error (ECE) {calibration['ece']:.2f}: mean confidence"
            f" {calibration['confidence']:.2f}, right {calibration['accuracy']:.2f}"
        )
    if overlap := metrics.get("overlap"):
        parts.append(overlap_line(overlap))
    parts.append(", ".join(found) or "no tags repaired")
    if unscored := metrics.get("unscored_mentions"):
        kinds = ", ".join(f"{kind} {number:,}" for kind, number in unscored.items())
        parts.append(f"gold mentions of types that the model does not have, not scored: {kinds}")
    if passed_over := metrics.get("passed_over"):
        kinds = ", ".join(f"{kind} {number:,}" for kind, number in passed_over.items())
        parts.append(f"rows of other types, not scored: {kinds}")
    return parts


def overlap_line(overlap: Overlap) -> str:
    """What the training set has of a split, in words."""
    shares = (f"{found['in_train']:,} of {found['total']:,} {unit}" for unit, found in overlap.items())
    return f"also in train: {', '.join(shares)}"


def _match_table(matches: Mapping[Matching, Matches]) -> RenderableType:
    rows = [
        (
            name,
            *(f"{matches[matching][score]:.2f}" for score in ("precision", "recall", "f1")),
            *(quantity(matches[matching][outcome]) for outcome in _OUTCOMES),
        )
        for matching, name in _MATCHINGS.items()
    ]
    return table(rows, header=("match", "P", "R", "F1", *_OUTCOMES))


def _type_table(by_type: Mapping[str, Mapping[Matching, Matches]]) -> RenderableType:
    rows = [
        (kind, *(f"{found[matching]['f1']:.2f}" for matching in _MATCHINGS))
        for kind, found in by_type.items()
    ]
    return table(rows, header=("F1 of type", *_MATCHINGS))
