"""A step's result on the host."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from biobert_scale.data.batches import RankStep
from biobert_scale.training.monitor.metrics import RunMetrics


@dataclass(frozen=True, kw_only=True)
class StepFigures:
    """A step's result, joined over the ranks: every rank has the same."""

    rank_losses: np.ndarray
    """(ranks,) each rank's part of the loss; they sum to it."""
    mlm_loss: float
    nsp_loss: float
    mlm_accuracy: float
    nsp_accuracy: float
    grad_norm: float
    loss_scale: float
    """Of the next step."""
    skipped: bool
    stop: bool
    """Whether any rank has been asked to stop."""
    waited: np.ndarray
    """(ranks,) seconds that each waited for its data."""

    @classmethod
    def of(cls, ranks: np.ndarray, batch: RankStep, *, rank: int) -> StepFigures:
        """Join what the ranks report.

        Args:
            ranks: (ranks, 9) float64: the sums named in `step.SUMS`, whether the rank has been asked to stop,
                the seconds that it waited, gradient norm, loss scale and whether the step was skipped.
            rank: whose view of the last three is taken; all are equal.
        """
        mlm, nsp, mlm_correct, nsp_correct, stop = ranks[:, :5].sum(0).tolist()
        grad_norm, loss_scale, skipped = ranks[rank, 6:].tolist()
        return cls(
            rank_losses=ranks[:, 0] / batch.global_predictions + ranks[:, 1] / batch.global_sequences,
            mlm_loss=mlm / batch.global_predictions,
            nsp_loss=nsp / batch.global_sequences,
            mlm_accuracy=mlm_correct / batch.global_predictions,
            nsp_accuracy=nsp_correct / batch.global_sequences,
            grad_norm=grad_norm,
            loss_scale=loss_scale,
            skipped=bool(skipped),
            stop=bool(stop),
            waited=ranks[:, 5],
        )

    def record(self) -> RunMetrics:
        """As it is logged."""
        return {
            "train/loss": float(self.rank_losses.sum()),
            "train/mlm_loss": self.mlm_loss,
            "train/nsp_loss": self.nsp_loss,
            "train/mlm_accuracy": self.mlm_accuracy,
            "train/nsp_accuracy": self.nsp_accuracy,
            "optim/grad_norm": self.grad_norm,
            "optim/loss_scale": self.loss_scale,
        }
