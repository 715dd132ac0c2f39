"""Does the model as shipped compute what the plain one does, on this device?

Losses, gradients, dropout, and nothing from a neighbour.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu.records import Comparison, DropoutError, Error, JudgedComparison
from benchmarks.train_step.contestants import SETTINGS
from benchmarks.train_step.load import load_of
from biobert_scale.config import Config, ModelConfig
from biobert_scale.modeling.attention import Backend, packed_attention
from biobert_scale.modeling.batch import PackedBatch
from biobert_scale.modeling.model import bert_config, build_model

PLAIN: dict[str, Any] = {**SETTINGS["every switch off"], "fused_optimizer": True}
"""`compute` without any optimisation; no optimizer step is taken here."""
_TIMES_PLAIN, _FLOOR = 1.5, 2e-3
"""How far from fp32 a result may be in 16 bits: so many times the plain computation's own distance in the
same type, and a little."""
_FP32 = {"loss": 1e-4, "gradient": 1e-3}
_FP16_SCALE = 2.0**12
"""What the loss is multiplied by in fp16, as training does, so that small gradients do not vanish."""
_HEADS, _HEAD_SIZE, _LENGTHS = 16, 64, (64, 40, 17)


def compare_computations(
    config: Config,
    shape: ModelConfig,
    device: torch.device,
    types: dict[str, torch.dtype],
    report: Callable[[Comparison], None] = lambda _: None,
) -> Comparison:
    """Relative errors of losses and gradients against `PLAIN` in fp32, by how they are computed; and how
    far a changed neighbour changes a sequence's loss.

    Args:
        config: whose batch of samples is taken.
        shape: of the model; its dropout is left out.
        types: 16-bit types by name.
        report: called after each of them with what is returned at the end; compiled ones, which take longest,
            are the last.
    """
    load = load_of(config, None, 1, "abstracts", device)
    batch = PackedBatch.of(load.steps[0].micro_batches[0]).to(device)
    shape = replace(shape, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)

    def losses_and_gradients(
        dtype: str, batch: PackedBatch = batch, **settings: Any
    ) -> tuple[Tensor, Tensor]:
        model: Any = build_model(
            bert_config(shape, vocabulary_size=load.vocabulary_size, pad_token_id=0),
            replace(config.compute, **settings),
            seed=1,
        )
        model.to(device)
        with torch.autocast(device.type, types.get(dtype), enabled=dtype in types):
            sums = model(batch)
        scale = _FP16_SCALE if dtype == "fp16" else 1.0
        (
            (sums["mlm_loss"] / len(batch.mlm_labels) + sums["nsp_loss"] / len(batch.nsp_labels)) * scale
        ).backward()
        gradients = torch.cat([parameter.grad.float().flatten() for parameter in model.parameters()]) / scale
        return torch.stack([sums["mlm_loss"], sums["nsp_loss"]]).detach().float(), gradients

    loss, gradient = losses_and_gradients("fp32", **PLAIN)
    cases: dict[str, tuple[str, dict[str, Any]]] = {"fp32": ("fp32", {})}
    for dtype in types:
        cases |= {f"{dtype}, plain": (dtype, PLAIN), f"{dtype}, as shipped": (dtype, {})}
    first = next(iter(types))
    cases |= {
        f"{first}, {name}": (first, changes)
        for name, changes in SETTINGS.items()
        if name not in ("compiled", "every switch off", "AdamW one operation after another")
    }
    cases |= {f"{dtype}, compiled": (dtype, {"compile": True}) for dtype in types}
    changed, end = batch.input_ids.clone(), batch.sequence_lengths[0]
    changed[:end] = 500
    own = batch.mlm_positions >= end
    kept = replace(batch, mlm_positions=batch.mlm_positions[own], mlm_labels=batch.mlm_labels[own])
    there, elsewhere = (
        losses_and_gradients(first, replace(kept, input_ids=ids))[0][0] for ids in (batch.input_ids, changed)
    )
    errors: dict[str, Error] = {}
    found: Comparison = {"errors": errors, "leak": float((there - elsewhere).abs())}
    for name, (dtype, settings) in cases.items():
        other_loss, other_gradient = losses_and_gradients(dtype, **settings)
        errors[name] = {
            "loss": float((other_loss / loss - 1).abs().max()),
            "gradient": float((other_gradient - gradient).norm() / gradient.norm()),
        }
        report(found)
    return found


def compare_dropout(
    device: torch.device, dtype: torch.dtype, *, probability: float = 0.1, backend: Backend = "auto"
) -> DropoutError:
    """Attention with dropout, by its own mask: with unit vectors as values its output is the probabilities
    that were kept.
    """
    torch.manual_seed(1)
    tokens, ends = sum(_LENGTHS), torch.tensor([0, *_LENGTHS]).cumsum(0).to(device, torch.int32)
    shape = (tokens, _HEADS, _HEAD_SIZE)
    query, key = (torch.randn(shape, device=device).to(dtype).requires_grad_() for _ in range(2))
    units = torch.cat([torch.eye(_HEAD_SIZE, device=device)[:length] for length in _LENGTHS])
    value = units[:, None].expand(shape).to(dtype).contiguous().requires_grad_()
    output = packed_attention(
        query,
        key,
        value,
        ends,
        _LENGTHS,
        max_seqlen=max(_LENGTHS),
        dropout=probability,
        backend=backend,
    )
    upstream = torch.randn_like(output)
    found = torch.autograd.grad(output, (query, key, value), upstream)
    exact = [states.detach().float().requires_grad_() for states in (query, key, value)]
    expected, dropped, number = [], 0, 0
    for start, end in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True):
        q, k, v = (states[start:end].transpose(0, 1) for states in exact)
        mask = output[start:end, :, : end - start].transpose(0, 1).detach() != 0  # (heads, tokens, tokens)
        dropped, number = dropped + int((~mask).sum()), number + mask.numel()
        probabilities = torch.softmax(q @ k.transpose(1, 2) * _HEAD_SIZE**-0.5, -1)
        expected.append((probabilities * mask / (1 - probability)) @ v)
    plain = torch.cat(expected, dim=1).transpose(0, 1)  # (tokens, heads, head size)
    wanted = torch.autograd.grad(plain, exact, upstream.float())
    return {
        "probability": probability,
        "dropped": dropped / number,
        "standard_error": (probability * (1 - probability) / number) ** 0.5,
        "values": _error(output, plain),
        "gradient": max(_error(ours, theirs) for ours, theirs in zip(found, wanted, strict=True)),
    }


def _error(ours: Tensor, exact: Tensor) -> float:
    return float((ours.detach().float() - exact.detach()).norm() / exact.detach().norm())


def judge(parity: JudgedComparison) -> list[str]:
    """What is out of its bounds, a line each."""
    errors, troubles = parity["errors"], []
    for name, found in errors.items():
        plain = errors.get(f"{name.partition(', ')[0]}, plain")
        for kind, error in (("loss", found["loss"]), ("gradient", found["gradient"])):
            bound = _FP32[kind] if plain is None else _TIMES_PLAIN * plain[kind] + _FLOOR  # type: ignore[literal-required]
            if not error <= bound and found is not plain:
                troubles.append(f"{name}: error of the {kind} {error:.1e}, at most {bound:.1e}")
    if parity["leak"] != 0:
        troubles.append(f"a changed neighbour changes a sequence's loss by {parity['leak']:.1e}")
    for name, dropout in parity["dropout"].items():
        if abs(dropout["dropped"] - dropout["probability"]) > 5 * dropout["standard_error"]:
            troubles.append(f"{name}: {dropout['dropped']:.4f} dropped of {dropout['probability']}")
        troubles += [
            f"{name}: error of dropout's {kind} {error:.1e}"
            for kind, error in (("values", dropout["values"]), ("gradient", dropout["gradient"]))
            if not error <= 0.02
        ]
    return troubles
