from __future__ import annotations

import itertools
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForPreTraining

from biobert_scale.cli import main
from biobert_scale.display import text
from biobert_scale.errors import UserError
from biobert_scale.plan.dry_run import Line, count_parameters, describe_run, plan_run, render
from biobert_scale.recipes import load_config
from tests.factories import write_samples, write_tokens

LARGE = load_config("biobert-large")


def test_the_recipe_s_numbers() -> None:
    """Written out here once more, so that no value changes unnoticed."""
    model, data, training = LARGE.model, LARGE.data, LARGE.training
    assert LARGE.vocabulary.size == 28_996 and not LARGE.vocabulary.lowercase
    assert (
        model.num_hidden_layers,
        model.hidden_size,
        model.num_attention_heads,
        model.intermediate_size,
        model.max_position_embeddings,
    ) == (24, 1024, 16, 4096, 512)
    assert (model.hidden_dropout_prob, model.attention_probs_dropout_prob, model.initializer_range) == (
        0.1,
        0.1,
        0.02,
    )
    assert (data.max_seq_length, data.mlm_probability, data.whole_word_masking) == (512, 0.15, False)
    assert (data.short_sequence_probability, data.random_next_probability) == (0.1, 0.5)
    assert (training.global_batch_size, training.micro_batch_size) == (256, 2)
    optimizer, schedule, precision = training.optimizer, training.schedule, training.precision
    assert (
        optimizer.learning_rate,
        optimizer.betas,
        optimizer.epsilon,
        optimizer.weight_decay,
        optimizer.max_grad_norm,
    ) == (5e-5, (0.9, 0.999), 1e-6, 0.01, 1.0)
    assert (schedule.warmup_steps, schedule.total_steps) == (10_000, 150_000)
    assert precision.dtype == "fp16"
    assert (
        precision.initial_scale_power,
        precision.loss_scale_window,
        precision.hysteresis,
        precision.min_loss_scale,
    ) == (16, 1000, 2, 1.0)
    assert (training.engine.name, training.engine.deepspeed_config) == ("deepspeed", "zero1")
    assert (training.checkpoint.every_steps, training.checkpoint.keep_last) == (1000, 3)
    assert (training.validation.every_steps, training.validation.sequences) == (1000, 8192)


def test_every_value_of_the_recipe_says_where_it_comes_from() -> None:
    from biobert_scale import recipes

    lines = (Path(recipes.__path__[0]) / "biobert-large.toml").read_text().splitlines()
    values = [
        line for line in lines if re.match(r"\w+ = ", line) and not line.startswith(("name", "description"))
    ] + [line for line in lines if line.startswith('name = "deepspeed')]
    assert len(values) > 35
    assert not [line for line in values if not re.search(r"# (recipe|BERT|BERT's code|ours)\b", line)]


def test_the_parameters_are_those_of_the_library_s_model() -> None:
    shape = BertConfig(
        vocab_size=28_996,
        hidden_size=1024,
        num_hidden_layers=24,
        num_attention_heads=16,
        intermediate_size=4096,
    )
    with torch.device("meta"):
        model = BertForPreTraining(shape)
    parts, groups = count_parameters(LARGE, shape)
    assert sum(parts.values()) == sum(parameter.numel() for parameter in model.parameters()) == 334_661_958
    assert sum(map(sum, groups)) == 334_661_958
    hidden, inner = 1024, 4096
    layer = 4 * (hidden * hidden + hidden) + 2 * hidden * inner + inner + hidden + 4 * hidden
    assert parts == {
        "embeddings": (28_996 + 512 + 2 + 2) * hidden,
        "encoder": 24 * layer,
        "pooler": hidden * hidden + hidden,
        "MLM head": hidden * hidden + hidden + 2 * hidden + 28_996,
        "NSP head": 2 * hidden + 2,
    }


def test_the_published_run_in_numbers() -> None:
    run = plan_run(LARGE, world_size=16, vocabulary_size=28_996)
    assert run.micro_steps == 8
    # Six operations a token for each weight that multiplies, and twelve a token, position, layer and hidden
    # number for attention. Of the last layer, behind its attention, the 77 predictions and [CLS] alone.
    behind = 1024**2 + 2 * 1024 * 4096
    layers = 512 * (24 * 3 * 1024**2 + 23 * behind) + 78 * behind
    heads = 77 * (1024**2 + 1024 * 28_996) + 1024**2 + 2 * 1024
    assert run.sequence_flops == 6 * (layers + heads) + 12 * 24 * 1024 * 512**2
    assert run.checkpoint == 12 * 334_661_958
    assert sum(run.sent) == 3 * 2 * 334_661_958 * 15 // 16


def test_the_table_of_the_published_run() -> None:
    table = text(describe_run(LARGE, world_size=16))
    for words in (
        "16 x 2 x 8 = 256",
        "334,661,958",
        "38,400,000",
        "19,660,800,000",
        "150,000",
        "10,000 of them warm-up",
        "loss scale 2^16",
        "zero1",
        "28,996 entries (the recipe)",
    ):
        assert words in table, words
    assert "days" not in table and "epochs" not in table and "host" not in table


def test_the_table_names_the_schedule_that_the_run_has() -> None:
    schedule = replace(LARGE.training.schedule, decay="constant", cooldown_steps=15_000)
    changed = replace(LARGE, training=replace(LARGE.training, schedule=schedule))
    table = text(describe_run(changed, world_size=16))
    assert "warm-up, then constant, linear to zero over the last 15,000 steps" in table
    assert "linear decay" in text(describe_run(LARGE, world_size=16))


def test_the_columns_are_aligned() -> None:
    lines = [Line("x", "1", "remark"), Line("longer", "1,000")]
    assert (
        text(render({"a": lines, "b": [Line("y", "22", "remark")]}))
        == "a\n  x           1  remark\n  longer  1,000\n\nb\n  y          22  remark"
    )


def test_days_follow_from_what_a_device_keeps_up() -> None:
    run = plan_run(LARGE, world_size=16, vocabulary_size=28_996)
    days = run.sequence_flops * 38_400_000 / (20e12 * 16) / 86400
    assert re.search(rf"days +{days:.1f} ", text(describe_run(LARGE, world_size=16, device_tflops=20.0)))


def test_a_batch_that_does_not_divide_is_refused_with_the_nearest() -> None:
    with pytest.raises(UserError, match="252 or 258"):
        describe_run(LARGE, world_size=3)


def test_offloaded_states_are_told_as_the_host_s() -> None:
    offloaded = replace(
        LARGE,
        training=replace(
            LARGE.training, engine=replace(LARGE.training.engine, deepspeed_config="zero2_offload")
        ),
    )
    assert "memory of its host" in text(describe_run(offloaded, world_size=16))


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokens(tmp_path_factory.mktemp("tokens"), documents=100)


def test_tokens_tell_the_vocabulary_and_the_epochs(tokens: Path, tmp_path: Path) -> None:
    demo = load_config("demo")
    table = text(describe_run(demo, world_size=2, tokens=tokens))
    assert "(the tokens)" in table and "300 entries" in table
    bound = int(re.search(r"samples an epoch +>= (\d+)", table)[1])  # type: ignore[index]
    samples = write_samples(tokens, tmp_path / "samples", demo.data, seed=demo.seed)
    counted = text(describe_run(demo, world_size=2, tokens=tokens, samples=samples))
    size = int(re.search(r"samples an epoch +(\d+)", counted)[1])  # type: ignore[index]
    assert size >= bound and re.search(
        rf"epochs +{demo.training.schedule.total_steps * demo.training.global_batch_size / size:.2f}", counted
    )
    other = text(describe_run(replace(demo, seed=2), world_size=2, tokens=tokens, samples=samples))
    assert "belongs to other tokens" in other and ">=" in other


def test_weights_of_sources_count_in_an_epoch(tmp_path: Path) -> None:
    demo = load_config("demo")
    weighted = replace(demo, data=replace(demo.data, sources={"pmc": 3.0}))
    tokens = write_tokens(tmp_path, documents=100, sources=("medline", "pmc"))
    samples = write_samples(tokens, tmp_path / "samples", demo.data, seed=demo.seed)
    sizes = []
    for config, index in itertools.product((demo, weighted), (None, samples)):
        table = text(describe_run(config, world_size=2, tokens=tokens, samples=index))
        sizes.append(int(re.search(r"samples an epoch +(?:>= )?(\d+)", table)[1]))  # type: ignore[index]
        assert ("of pmc" in table and "3 times in an epoch" in table) == (config is weighted)
    assert sizes[1] * 1.6 < sizes[3] < sizes[1] * 2.4 and sizes[0] * 1.6 < sizes[2] <= sizes[3]
    with pytest.raises(UserError, match="no document comes from the source 'pcm'"):
        describe_run(
            replace(demo, data=replace(demo.data, sources={"pcm": 3.0})), world_size=2, tokens=tokens
        )


def test_the_command_starts_nothing_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLURM_NTASKS", raising=False)
    assert (
        main(
            [
                "train",
                "--dry-run",
                "--config",
                "demo",
                "--output",
                str(tmp_path / "run"),
                "--training.micro-batch-size",
                "64",
            ]
        )
        == 0
    )
    assert "1 x 64 x 2 = 128" in capsys.readouterr().out
    assert not torch.distributed.is_initialized() and not (tmp_path / "run").exists()
    described = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "4", "MASTER_ADDR": "n1", "MASTER_PORT": "7"}
    for name, value in described.items():
        monkeypatch.setenv(name, value)
    assert main(["train", "--dry-run", "--config", "demo"]) == 0
    assert "4 x 32 x 1 = 128" in capsys.readouterr().out
    monkeypatch.setenv("RANK", "1")
    assert main(["train", "--dry-run", "--config", "demo"]) == 0
    assert capsys.readouterr().out == "", "every rank but the first is silent"


def test_mistakes_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--dry-run", "--world-size", "48"]) == 2
    assert main(["train", "--dry-run", "--world-size", "-1"]) == 2
    told = capsys.readouterr().err.splitlines()
    assert len([line for line in told if line.startswith("biobert-scale:")]) == 2 and "192 or 288" in told[0]


@pytest.mark.parametrize(
    "name", ["ddp", "zero0", "zero1", "zero2", "zero3", "zero2_offload", "zero3_offload"]
)
def test_the_table_in_ds_configs_is_what_the_code_computes(name: str) -> None:
    engine = (
        replace(LARGE.training.engine, name="ddp")
        if name == "ddp"
        else replace(LARGE.training.engine, deepspeed_config=name)
    )
    precision = (
        replace(LARGE.training.precision, dtype="bf16") if name == "zero0" else LARGE.training.precision
    )  # which has no fp16
    run = plan_run(
        replace(LARGE, training=replace(LARGE.training, engine=engine, precision=precision)),
        world_size=16,
        vocabulary_size=28_996,
    )
    device, host = run.memory.device, run.memory.host
    optimizer = device.fp32_weights + device.moments
    figures = (
        device.weights,
        device.gradients,
        optimizer,
        device.copies,
        device.communication,
        device.optimizer_step,
        device.peak,
        host.peak,
        sum(run.sent),
    )
    row = (
        f"| {'none (`ddp`)' if name == 'ddp' else f'`{name}.json`'} | "
        + " | ".join(f"{figure / 1e9:.2f}" for figure in figures)
        + " |"
    )
    assert row in (Path(__file__).parents[3] / "ds_configs" / "README.md").read_text().splitlines()
