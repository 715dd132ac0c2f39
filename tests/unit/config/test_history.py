"""What older versions saved is read as they meant it, and runs keep their fingerprints. Changes of names and
keys are made up here, but for those of the table."""

from __future__ import annotations

import copy
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from biobert_scale.config import Config, FinetuneConfig, history, tree
from biobert_scale.config.history import ANY, Added, Removed, Renamed, current_name, to_current
from biobert_scale.errors import UserError
from biobert_scale.files import fingerprint, read_json, write_json
from biobert_scale.recipes import (
    change_settings,
    load_config,
    structure_config,
    structure_saved,
    structure_saved_budget,
)
from biobert_scale.training.checkpoint.identity import refuse_changes, run_fingerprint

CHECKPOINT = Path(__file__).parents[2] / "saved-by-0.1.0" / "run" / "checkpoints" / "step-00000004"
FIRST: dict[str, Any] = read_json(CHECKPOINT / "config.json")
RECIPE = """
name = "old"
[training]
global_batch_size = 8
[training.optimizer]
learning_rate = 0.001
[training.schedule]
warmup_steps = 2
total_steps = 8
[training.precision]
dtype = "fp32"
[data]
max_seq_length = 32
[model]
hidden_size = 8
num_hidden_layers = 1
num_attention_heads = 2
intermediate_size = 16
max_position_embeddings = 32
"""


def saved(config: Config, path: Path) -> dict[str, Any]:
    """As today's version writes it."""
    write_json(path, config)
    return read_json(path)


@pytest.fixture
def old(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Saved by a version that clipped gradients at 7 without a setting, called the layers `depth`, and had
    two settings that are gone."""
    monkeypatch.setitem(history.ADDED, "training.optimizer.max_grad_norm", Added(since="9", before=7.0))
    monkeypatch.setitem(history.RENAMED, "model.depth", Renamed(since="9", to="model.num_hidden_layers"))
    monkeypatch.setitem(history.REMOVED, "data.backwards", Removed(since="9", always=False))
    monkeypatch.setitem(history.REMOVED, "compute.slowly", Removed(since="9", always=ANY))
    config = copy.deepcopy(FIRST)
    del config["training"]["optimizer"]["max_grad_norm"]
    config["model"]["depth"] = config["model"].pop("num_hidden_layers")
    config["data"]["backwards"], config["compute"]["slowly"] = False, True
    return config


def test_every_key_since_the_first_version_is_accounted_for() -> None:
    """Where this fails, a key was added, renamed or removed, and `history` lacks its line."""
    assert tree.keys(to_current(FIRST, where="")) == tree.keys(asdict(Config(name="any")))


def test_what_the_first_version_saved_has_the_fingerprints_that_it_gave() -> None:
    config, manifest = load_config(CHECKPOINT / "config.json"), read_json(CHECKPOINT / "manifest.json")
    assert config.fingerprinted() == FIRST
    assert fingerprint(config) == manifest["config_fingerprint"]
    own = run_fingerprint(config, manifest["samples_fingerprint"])
    assert own == "c21a3edacae84e7cb26aba63f1a64ee796499c5c880605a857f267d1fb1208ff"


def test_a_missing_key_means_the_behaviour_before_it(old: dict[str, Any]) -> None:
    config = structure_saved(old, where="old")
    assert config.training.optimizer.max_grad_norm == 7.0
    assert config.model.num_hidden_layers == 1


def test_a_run_is_known_by_what_it_was_known_by(old: dict[str, Any]) -> None:
    config = structure_saved(old, where="old")
    del old["compute"]["slowly"]
    assert config.fingerprinted() == old
    sections = (old["seed"], old["model"], old["data"], old["training"])
    settings = [
        *sections[:3],
        *(old["training"][name] for name in ("global_batch_size", "optimizer", "schedule")),
    ]
    assert run_fingerprint(config, "s") == fingerprint(["s", *settings, "fp32", ""])
    optimizer = replace(config.training.optimizer, max_grad_norm=1.0)
    another = replace(config, training=replace(config.training, optimizer=optimizer))
    assert run_fingerprint(another, "s") != run_fingerprint(config, "s")


def test_an_old_run_resumes_with_a_recipe_that_knows_nothing_of_the_new_key(
    old: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    recipe = tmp_path / "old.toml"
    recipe.write_text(RECIPE)
    with pytest.raises(UserError, match=r"max_grad_norm was 7\.0 and is now 1\.0"):
        refuse_changes(old, load_config(recipe), where=tmp_path)
    begun = structure_saved(old, where="old")
    config = load_config(recipe, resumes=begun)
    assert config.training.optimizer.max_grad_norm == 7.0
    refuse_changes(old, config, where=tmp_path)
    # A key whose default does what was done before is not worth a line.
    named = [record.getMessage().split()[0] for record in caplog.records]
    assert named == ["corpus.retracted", "training.optimizer.max_grad_norm"]
    # The second time the run has saved it by today's name.
    now = saved(config, tmp_path / "now.json")
    again = load_config(recipe, resumes=structure_saved(now, where="now"))
    refuse_changes(now, again, where=tmp_path)
    assert again == config


def test_a_new_run_has_the_new_behaviour_whenever_it_starts(old: dict[str, Any], tmp_path: Path) -> None:
    recipe = tmp_path / "new.toml"
    recipe.write_text(RECIPE)
    config = load_config(recipe)
    assert config.training.optimizer.max_grad_norm == 1.0
    assert load_config(recipe, resumes=config) == config


def test_a_key_that_the_recipe_sets_is_the_recipe_s(old: dict[str, Any], tmp_path: Path) -> None:
    recipe = tmp_path / "set.toml"
    recipe.write_text(RECIPE.replace("[training.optimizer]", "[training.optimizer]\nmax_grad_norm = 1.0"))
    config = load_config(recipe, resumes=structure_saved(old, where="old"))
    with pytest.raises(UserError, match=r"max_grad_norm was 7\.0 and is now 1\.0"):
        refuse_changes(old, config, where=tmp_path)


def test_a_removed_key_with_a_value_that_nothing_follows_any_more_is_refused(old: dict[str, Any]) -> None:
    old["data"]["backwards"] = True
    with pytest.raises(
        UserError, match=r"data\.backwards is True; since 9 it is always False: old; use a ver"
    ):
        structure_saved(old, where="old")


@pytest.mark.parametrize("key", ["seeds", "training.patience", "training.optimizer.betta", "gone.away"])
def test_a_key_that_no_version_has_had_is_named(key: str) -> None:
    config = copy.deepcopy(FIRST)
    tree.put(config, key, 1)
    with pytest.raises(UserError, match="unknown configuration key") as refused:
        structure_saved(config, where="config.json")
    assert refused.value.where == f"config.json: {key.removesuffix('.away')}"


def test_a_section_with_a_new_name_is_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    renamed = {"feeding": Renamed(since="8", to="batches"), "batches": Renamed(since="9", to="loader")}
    others = {key: to for key, to in history.RENAMED.items() if not key.startswith("loader.")}
    monkeypatch.setattr(history, "RENAMED", renamed | others)
    config = copy.deepcopy(FIRST)
    config["feeding"] = {"workers": 3, "prefetch_steps": 2, "pad_to_multiple_of": 8}
    del config["loader"]
    read = structure_saved(config, where="config.json")
    assert (read.loader.workers, read.loader.pad_to_multiple_of) == (3, 8)
    assert read.fingerprinted() == config
    assert current_name("feeding.workers") == "loader.workers"


def test_a_fine_tuning_run_s_settings_are_read_in_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    budget = asdict(FinetuneConfig(epochs=7))
    monkeypatch.setitem(history.ADDED, "evaluation.entities.dropout", Added(since="9", before=0.3))
    monkeypatch.setitem(
        history.RENAMED, "evaluation.entities.rounds", Renamed(since="9", to="evaluation.entities.epochs")
    )
    budget["rounds"] = budget.pop("epochs")
    del budget["dropout"]
    assert structure_saved_budget(budget, where="manifest.json") == FinetuneConfig(epochs=7, dropout=0.3)
    with pytest.raises(UserError, match=r"unknown configuration key: manifest\.json: round"):
        structure_saved_budget(budget | {"round": 1}, where="manifest.json")


def test_the_multiple_that_micro_batches_are_padded_to_had_another_name(tmp_path: Path) -> None:
    config = copy.deepcopy(FIRST)
    config["loader"]["token_bucket"] = 128
    assert structure_saved(config, where="config.json").loader.pad_to_multiple_of == 128
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('name = "a"\n[loader]\ntoken_bucket = 128')
    with pytest.raises(UserError, match=r"loader\.token_bucket; write loader\.pad_to_multiple_of") as refused:
        load_config(recipe)
    assert refused.value.where == f"{recipe}: loader.token_bucket"
    changed = change_settings(load_config("demo"), ["loader.token-bucket=64"], where="--settings")
    assert changed.loader.pad_to_multiple_of == 64


def test_a_recipe_with_a_key_that_is_gone_is_refused(old: dict[str, Any], tmp_path: Path) -> None:
    for key, remedy in (("data.backwards", "remove it"), ("model.depth", "write model.num_hidden_layers")):
        section, name = key.split(".")
        recipe = tmp_path / "recipe.toml"
        recipe.write_text(f'name = "a"\n[{section}]\n{name} = 1')
        with pytest.raises(UserError, match=remedy) as refused:
            load_config(recipe)
        assert refused.value.where == f"{recipe}: {key}"


def test_a_configuration_made_in_the_program_is_no_saved_one(old: dict[str, Any]) -> None:
    assert structure_config({"name": "new"}, where="test").training.optimizer.max_grad_norm == 1.0


def test_a_json_file_with_every_setting_is_a_saved_one_and_any_other_a_recipe(
    old: dict[str, Any], tmp_path: Path
) -> None:
    whole, partial = tmp_path / "whole.json", tmp_path / "partial.json"
    write_json(whole, old)
    del old["seed"], old["model"], old["data"], old["compute"]
    old["loader"]["token_bucket"] = 8
    write_json(partial, old)
    assert load_config(whole).training.optimizer.max_grad_norm == 7.0
    config = load_config(partial)
    assert (config.training.optimizer.max_grad_norm, config.loader.pad_to_multiple_of) == (1.0, 8)
    begun = load_config(whole)
    assert load_config(partial, resumes=begun).training.optimizer.max_grad_norm == 7.0
