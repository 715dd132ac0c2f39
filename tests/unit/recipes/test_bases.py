"""A recipe says what differs from its base, and nothing else."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from biobert_scale.errors import UserError
from biobert_scale.files import fingerprint
from biobert_scale.recipes import load_config


def write(directory: Path, **recipes: str) -> Path:
    """TOML files by their names; returns the first."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in recipes.items():
        (directory / f"{name}.toml").write_text(text)
    return directory / f"{next(iter(recipes))}.toml"


# Of the recipes as version 0.1.0 had them, each written out in full.
FINGERPRINTS = {
    "biobert-large": "dfd5d3a225fd1bf053591c34c7c2e8047b20de900a318fe20b03bb459b2f981c",
    "demo": "2045e1771733200740f003ff735a605f5365256318bde9a9592685796cacc2bd",
    "demo-real": "ae05441a87eba967e67bbf45b21eafa3d374221351c8d3abbcea8dabc49fd9e1",
    "one-gpu": "7258e510266af2c7c4e60b9811126a4a226f50541e33fc21d4b0214217c15e1e",
}


def test_a_packaged_recipe_is_what_it_was_when_it_was_written_out() -> None:
    found = {}
    for name in FINGERPRINTS:
        config = load_config(name)
        # The one setting whose default is not what was done then.
        found[name] = fingerprint(replace(config, corpus=replace(config.corpus, retracted=True)))
    assert found == FINGERPRINTS


def test_a_recipe_is_its_base_with_what_it_sets(tmp_path: Path) -> None:
    own = write(tmp_path, own='base = "demo"\nname = "own"\n[training.optimizer]\nlearning_rate = 1e-4')
    ours, base = asdict(load_config(own)), asdict(load_config("demo"))
    assert ours["training"]["optimizer"].pop("learning_rate") == 1e-4
    assert base["training"]["optimizer"].pop("learning_rate") == 4e-3
    assert ours | {"name": "demo"} == base and "base" not in ours


def test_bases_form_a_chain_and_paths_start_from_the_file_that_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "shared", first='base = "second.toml"\nseed = 3', second="seed = 2\n[tokens]\n")
    own = write(
        tmp_path / "own", own='base = "../shared/first.toml"\nname = "own"\n[data]\nmax_seq_length = 64'
    )
    with (tmp_path / "shared" / "second.toml").open("a") as stream:
        stream.write("validation_fraction = 0.25\n[data]\nmlm_probability = 0.2\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    config = load_config(own)
    assert (config.seed, config.tokens.validation_fraction) == (3, 0.25)
    assert (config.data.max_seq_length, config.data.mlm_probability) == (64, 0.2)


@pytest.mark.parametrize(
    ("base", "where", "what"),
    [
        (
            'name = "b"\n[training.optimizer]\nlr = 1',
            "base.toml (a base of {own}): training.optimizer.lr",
            "unknown",
        ),
        (
            "[data]\nmlm_probability = 2.0",
            "base.toml (a base of {own}): data.mlm_probability",
            "cannot be 2.0",
        ),
        ('seed = "one"', "base.toml (a base of {own}): seed", "expected int"),
        ("seed = = 1", "base.toml", "not valid TOML"),
        ('base = "gone.toml"', "base.toml: base", "no such configuration file as"),
        ('base = "biobert-huge"', "base.toml: base", "no such recipe as biobert-huge"),
        ("base = 3", "base.toml: base", "expected the name or the path of a recipe, found 3"),
        ('base = ""', "base.toml: base", "expected the name or the path of a recipe"),
        ('base = "./own.toml"', "base.toml: base", "the bases lead back: "),
        ('base = "base.toml"', "base.toml: base", "the bases lead back: "),
        # The base alone is right; what contradicts it is the recipe's own.
        ("[model]\nmax_position_embeddings = 32", "own.toml: data.max_seq_length", "exceeds"),
    ],
)
def test_a_mistake_in_a_base_is_one_line_that_names_its_file(
    tmp_path: Path, base: str, where: str, what: str
) -> None:
    own = write(tmp_path, own='base = "base.toml"\nname = "own"\n[data]\nmax_seq_length = 64', base=base)
    with pytest.raises(UserError, match=what) as refused:
        load_config(own)
    assert refused.value.where.endswith(where.format(own=own)) and "\n" not in str(refused.value)


def test_a_base_that_is_right_with_the_recipe_alone_is_taken(tmp_path: Path) -> None:
    own = write(
        tmp_path,
        own='base = "base.toml"\nname = "own"\n[model]\nnum_attention_heads = 10',
        base="[model]\nhidden_size = 100",
    )
    assert load_config(own).model.hidden_size == 100


def test_a_file_that_is_not_utf_8_is_one_line(tmp_path: Path) -> None:
    for name in ("own.toml", "own.json"):
        (tmp_path / name).write_bytes(b'name = "\xff"')
        with pytest.raises(UserError) as refused:
            load_config(tmp_path / name)
        assert refused.value.where == str(tmp_path / name) and "\n" not in str(refused.value)


def test_a_recipe_in_json_has_no_base(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"name": "a", "base": "demo"}')
    with pytest.raises(UserError, match="unknown configuration key"):
        load_config(tmp_path / "config.json")
