from __future__ import annotations

from pathlib import Path

import pytest

from biobert_scale.config import gradient_accumulation_steps
from biobert_scale.errors import UserError
from biobert_scale.files import fingerprint
from biobert_scale.recipes import load_config, recipe_names, structure_config


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_loads(name: str) -> None:
    assert load_config(name).name == name


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ('name = "a"\n[training.optimizer]\nlr = 1e-4', "training.optimizer.lr", "unknown configuration key"),
        (
            'name = "a"\n[training.optimizer]\nlearning_rate = "1e-4"',
            "training.optimizer.learning_rate",
            "expected float",
        ),
        ('name = "a"\nseed = true', "seed", "expected int"),
        ("seed = 1", "name", "missing configuration key"),
        ('name = "a"\n[training]\nglobal_batch_size = 255', "training.global_batch_size", "254 or 256"),
        ('name = "a"\n[data]\nmax_seq_length = 1024', "data.max_seq_length", "max_position_embeddings 512"),
        ('name = "a"\n[model]\nhidden_size = 100', "model.hidden_size", "not a multiple"),
        (
            'name = "a"\n[training.schedule]\nwarmup_steps = 150000',
            "training.schedule.warmup_steps",
            "not below",
        ),
        ('name = "a"\nseed = = 1', "recipe.toml", "not valid TOML"),
    ],
)
def test_a_mistake_is_named_with_its_key(tmp_path: Path, text: str, where: str, what: str) -> None:
    with pytest.raises(UserError) as caught:
        load_config(write(tmp_path / "recipe.toml", text))
    message = str(caught.value)
    assert where in message and what in message and "\n" not in message


def test_a_missing_recipe_names_those_that_exist() -> None:
    with pytest.raises(UserError, match="biobert-large"):
        load_config("no-such-recipe")
    with pytest.raises(UserError, match="no such configuration file"):
        load_config("missing/recipe.toml")


def test_the_resolved_configuration_reads_back_as_itself(tmp_path: Path) -> None:
    from biobert_scale.files import write_json

    config = load_config("demo")
    write_json(tmp_path / "config.json", config)
    assert load_config(tmp_path / "config.json") == config
    assert fingerprint(load_config(tmp_path / "config.json")) == fingerprint(config)


def test_the_recipe_of_the_paper_is_the_paper_s() -> None:
    config = load_config("biobert-large")
    training, model = config.training, config.model
    assert (model.num_hidden_layers, model.hidden_size, model.num_attention_heads) == (24, 1024, 16)
    assert (
        training.global_batch_size,
        training.micro_batch_size,
        gradient_accumulation_steps(training, 16),
    ) == (256, 2, 8)
    assert (training.schedule.warmup_steps, training.schedule.total_steps) == (10_000, 150_000)
    assert training.optimizer.learning_rate == 5e-5 and training.precision.dtype == "fp16"
    assert config.data.max_seq_length == 512


def test_an_integer_beyond_all_floats_is_refused_by_its_section() -> None:
    with pytest.raises(UserError, match=r"learning_rate cannot be inf"):
        structure_config(
            {"name": "huge", "training": {"optimizer": {"learning_rate": 10**400}}}, where="huge.toml"
        )
