"""The loss by rows against PyTorch's own."""

from __future__ import annotations

import pytest
import torch

from biobert_scale.modeling.loss import cross_entropy


def test_logits_of_the_loss_by_rows_are_kept_once_and_spent_once() -> None:
    torch.manual_seed(0)
    hidden, weight, bias = (
        torch.randn(10, 8, requires_grad=True),
        torch.randn(30, 8, requires_grad=True),
        torch.randn(30, requires_grad=True),
    )
    labels = torch.randint(0, 30, (10,))
    logits = hidden @ weight.T + bias
    expected = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
    for rows in (1, 3, 10, 99):
        loss, correct = cross_entropy(hidden, weight, bias, labels, rows=rows)
        torch.testing.assert_close(loss, expected)
        assert correct == (logits.argmax(-1) == labels).sum()
        for ours, theirs in zip(
            torch.autograd.grad(2 * loss, (hidden, weight, bias), retain_graph=True),
            torch.autograd.grad(2 * expected, (hidden, weight, bias), retain_graph=True),
            strict=True,
        ):
            torch.testing.assert_close(ours, theirs)
        with pytest.raises(AssertionError, match="second backward pass"):
            torch.autograd.grad(loss, hidden)


def test_no_predictions_are_no_loss() -> None:
    hidden = torch.randn(0, 8, requires_grad=True)
    loss, correct = cross_entropy(
        hidden, torch.randn(30, 8), torch.randn(30), torch.zeros(0, dtype=torch.long), rows=4
    )
    loss.backward()
    assert loss == 0 and correct == 0
