"""The learning benchmark's result as Markdown and as a picture."""

from __future__ import annotations

import matplotlib
from matplotlib.figure import Figure

from benchmarks.figure import LINE, OURS, PEERS, STYLE, as_png
from benchmarks.learning.records import LearningResult
from benchmarks.result import heading
from biobert_scale.config import Config


def learning_page(result: LearningResult, config: Config, *, figure: str) -> str:
    """Render what `learning` measured.

    Args:
        config: the recipe as both sides ran it.
        figure: the picture's file name.
    """
    training = config.training
    ours, peers = result["sides"]
    lines = [
        *heading(
            "Learning beside transformers' Trainer",
            result,
            result["device"],
            f"load before, of other work: {result['load_before']:.1f}",
        ),
        (
            f"- Model: {config.model.num_hidden_layers} layers, hidden size {config.model.hidden_size}, a"
            f" vocabulary of {result['tokens']['vocabulary']:,} entries; dropout"
            f" {config.model.hidden_dropout_prob:g}, {config.model.attention_probs_dropout_prob:g} in"
            " attention"
        ),
        (
            f"- Both: {training.schedule.total_steps:,} steps ({training.schedule.warmup_steps:,} of warm-up)"
            f" of {training.global_batch_size} sequences of at most {config.data.max_seq_length} tokens;"
            f" {_optimizer(config)}; {_precision(result, config)}"
        ),
        (
            f"- {ours['name']}: {ours['engine']}, one process, micro-batches of {training.micro_batch_size},"
            f" {ours['attention']}"
        ),
        (
            f"- {peers['name']}: `BertForPreTraining`, its own loss, `adamw_torch` and {peers['schedule']}; a"
            f" step's sequences as one padded batch, {peers['attention']} attention"
        ),
        "",
        *_verdict(result),
        "",
        f"![Held-out loss by step, and the difference]({figure})",
        "",
        *_curves(result),
        "",
        *_speed(result),
    ]
    return "\n".join(lines) + "\n"


def _optimizer(config: Config) -> str:
    optimizer = config.training.optimizer
    return (
        f"AdamW, peak learning rate {optimizer.learning_rate:g}, betas {optimizer.betas[0]:g} and"
        f" {optimizer.betas[1]:g}, epsilon {optimizer.epsilon:g}, weight decay {optimizer.weight_decay:g},"
        f" gradients clipped to {optimizer.max_grad_norm:g}"
    )


def _precision(result: LearningResult, config: Config) -> str:
    dtype = config.training.precision.dtype
    return (
        dtype
        if dtype == result["recipe_dtype"]
        else f"{dtype} in place of the recipe's {result['recipe_dtype']}"
    )


def differences(result: LearningResult) -> list[float]:
    """Held-out MLM loss of this package less the peer's, in nats, at each point of the curves."""
    ours, peers = result["sides"]
    return [
        one["validation/mlm_loss"] - other["validation/mlm_loss"]
        for one, other in zip(ours["curve"], peers["curve"], strict=True)
    ]


def _verdict(result: LearningResult) -> list[str]:
    ours, peers = result["sides"]
    first, last, apart = ours["curve"][0], (ours["curve"][-1], peers["curve"][-1]), differences(result)
    return [
        (
            f"Held-out MLM loss at the end: {last[0]['validation/mlm_loss']:.4f} with {ours['name']},"
            f" {last[1]['validation/mlm_loss']:.4f} with {peers['name']}, from"
            f" {first['validation/mlm_loss']:.4f}; a difference of {apart[-1]:+.4f} nats (below 0: this"
            f" package learned more). On the way they were at most {max(map(abs, apart)):.4f} apart."
        ),
    ]


def _curves(result: LearningResult) -> list[str]:
    ours, peers = result["sides"]
    return [
        "## Held-out losses",
        "",
        (
            f"The same {ours['curve'][0]['validation/sequences']:,} samples and masks each time, summed over"
            " all and divided by all predictions (pairs), in nats."
        ),
        "",
        (
            f"| step | consumed tokens | MLM, {ours['name']} | MLM, {peers['name']} | difference | NSP,"
            f" {ours['name']} | NSP, {peers['name']} |"
        ),
        "|---|---|---|---|---|---|---|",
        *(
            f"| {one['global_step']:,} | {one['consumed_tokens']:,} | {one['validation/mlm_loss']:.4f} |"
            f" {other['validation/mlm_loss']:.4f} | {apart:+.4f} | {one['validation/nsp_loss']:.4f} |"
            f" {other['validation/nsp_loss']:.4f} |"
            for one, other, apart in zip(ours["curve"], peers["curve"], differences(result), strict=True)
        ),
    ]


def _speed(result: LearningResult) -> list[str]:
    rates = [side["real_tokens"] / side["training_seconds"] for side in result["sides"]]
    return [
        "## Time",
        "",
        (
            "By the clock, one run each; tokens without padding. Training: from the first step to the last,"
            " waiting for data in it, evaluation and checkpoint left out. The whole process starts Python,"
            " reads, evaluates and saves as well."
        ),
        "",
        "| | training, s | real tokens/s | times the slower | the whole process, s | its CPU time, s |",
        "|---|---|---|---|---|---|",
        *(
            f"| {side['name']} | {side['training_seconds']:.1f} | {rate:,.0f} | {rate / min(rates):.2f} |"
            f" {side['whole_seconds']:.1f} | {side['whole_cpu_seconds']:.1f} |"
            for side, rate in zip(result["sides"], rates, strict=True)
        ),
    ]


def learning_figure(result: LearningResult) -> bytes:
    """Both curves, and their difference below, as a PNG."""
    ours, peers = result["sides"]
    steps = [point["global_step"] for point in ours["curve"]]
    with matplotlib.rc_context(STYLE):
        canvas = Figure(figsize=(6.4, 5.0), dpi=150, layout="constrained")
        above, below = canvas.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        # The curves nearly cover each other: the one below is broad, the one above is thin.
        for side, style in (
            (peers, {"color": PEERS, "lw": 5}),
            (ours, {"color": OURS, "lw": 1.3, "marker": "o", "ms": 3.5}),
        ):
            above.plot(
                steps,
                [point["validation/mlm_loss"] for point in side["curve"]],
                label=side["name"],
                solid_capstyle="round",
                **style,
            )
        above.set_ylabel("held-out MLM loss (nats)")
        above.legend(frameon=False)
        below.axhline(0, color=LINE, lw=0.8)
        below.plot(steps, differences(result), color=OURS, lw=1.3, marker="o", ms=3.5)
        below.set_title(f"difference: {ours['name']} less {peers['name']}", loc="left", fontsize=9)
        below.set_ylabel("nats")
        below.set_xlabel("optimizer step")
        return as_png(canvas)
