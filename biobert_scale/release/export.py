"""A checkpoint of any ZeRO stage in; a release out: safetensors, configuration, tokenizer, card,
checksums."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from transformers import BertForPreTraining

from biobert_scale.config import Config
from biobert_scale.data.run_stream import run_samples_fingerprint
from biobert_scale.errors import UserError
from biobert_scale.files import (
    MANIFEST,
    Manifest,
    describe_inputs,
    finish_stage,
    read_json,
    read_manifest,
    sync,
    write_atomically,
    write_json,
)
from biobert_scale.lock import Lock
from biobert_scale.modeling.model import bert_config
from biobert_scale.recipes import load_config
from biobert_scale.release.card import SETTINGS, Facts, model_card
from biobert_scale.release.checksums import CHECKSUMS, released_files, write_checksums
from biobert_scale.release.finetuning_results import read_scores
from biobert_scale.release.history import read_corpus, read_run
from biobert_scale.release.tokenizers import limit_tokenizer
from biobert_scale.release.weights import Dtype, save_weights
from biobert_scale.stage import Stage
from biobert_scale.tokens.build import STAGE as TOKENS_STAGE
from biobert_scale.tokens.vocabulary import special_ids
from biobert_scale.training.checkpoint.identity import CONFIG, run_fingerprint
from biobert_scale.training.checkpoint.manifest import read_record
from biobert_scale.training.checkpoint.retention import complete, find_checkpoint, milestones, step_of
from biobert_scale.training.checkpoint.tensor_files import Shards

STAGE = "export"
CARD = "README.md"


def export_model(
    source: Path,
    tokens: Path,
    output: Path,
    *,
    dtype: Dtype = "fp32",
    corpus: Path | None = None,
    evaluation: Path | None = None,
    license: str = "",
    overwrite: bool = False,
) -> Manifest:
    """Write the model that `transformers.AutoModelForPreTraining` and its siblings open.

    The manifest lists what is computed with (weights, configuration, tokenizer). The card and the
    checksums are no part of it: a later call with `corpus`, `evaluation` or `license` writes them anew, and
    the runs that started from this model still find it unchanged.

    Args:
        source: a run directory (its newest intact checkpoint is taken) or a checkpoint directory.
        tokens: the token shards it was trained on, for the tokenizer and the card's figures.
        dtype: see `save_weights`.
        corpus: the corpus that the tokens were made from; the card then lists its parts and their licences.
        evaluation: directory of fine-tuning runs; the card then lists the scores of those that started from
            this model.
        license: of the weights, as the hub spells it.

    Raises:
        UserError: no intact checkpoint, token shards of another vocabulary, another corpus, no run of this
            model, or weights that fp16 does not hold.
    """
    checkpoint = find_checkpoint(source)
    tokens_manifest = read_manifest(tokens, TOKENS_STAGE)
    history = read_corpus(corpus, tokens_manifest) if corpus is not None else None
    inputs = describe_inputs([checkpoint, tokens])
    config = load_config(checkpoint / CONFIG)
    state = read_json(checkpoint / MANIFEST)
    if state["samples_fingerprint"] != run_samples_fingerprint(tokens, config):
        what = "the token shards are not those that the checkpoint was trained on"
        remedy = "give the run's own: their tokenizer belongs to its weights"
        raise UserError(what, where=tokens, remedy=remedy)
    # Checkpoints of one run belong to one curve of scores against steps.
    weights = state.get("initial_weights", "")
    own = run_fingerprint(config, state["samples_fingerprint"], initial_weights=weights)
    settings = {"dtype": dtype, "pretraining": own}
    reads = [source, tokens]
    stage = Stage(output, STAGE, inputs=inputs, config=settings, overwrite=overwrite, reads=reads)
    manifest = stage.check()
    if manifest and (output / CHECKSUMS).is_file() and corpus is None and evaluation is None and not license:
        return manifest

    def publish(directory: Path, manifest: Manifest) -> None:
        facts = Facts(
            config=config,
            checkpoint=state,
            tokens=tokens_manifest,
            run=read_run(checkpoint.parent.parent, state["global_step"]),
            parameters=manifest.counts["parameters"],
            dtype=dtype,
            corpus=history,
            scores=tuple(read_scores(evaluation, directory)) if evaluation is not None else (),
            license=license,
        )
        publish_card(directory, model_card(facts))

    if manifest:
        publish(output, manifest)
        return manifest
    with whole_release(stage) as staging:
        vocabulary = tokens_manifest.counts["vocabulary"]
        parameters = _write_model(checkpoint, tokens, staging, config, vocabulary, dtype)
        counts = {"parameters": parameters, "global_step": state["global_step"]}
        manifest = finish_release(stage, staging, counts)
        publish(staging, manifest)
    return manifest


def find_milestones(run: Path) -> dict[str, Path]:
    """The checkpoints that a run keeps for good, by their releases' names (`step-25000`), oldest first.

    Raises:
        UserError: there is none, or this is no run.
    """
    found = complete(run)
    if not found:
        remedy = "give the --output of `biobert-scale train`"
        raise UserError("no checkpoint of a run", where=run, remedy=remedy)
    config = load_config(found[-1] / CONFIG)
    kept = milestones(run, config.training.checkpoint)
    return {f"step-{step_of(checkpoint)}": checkpoint for checkpoint in kept}


@contextmanager
def whole_release(stage: Stage) -> Iterator[Path]:
    """A directory beside the stage's output to write a release in; its files take their place there when it
    is complete. An export that fails leaves what was there before, or nothing."""
    target = stage.output.resolve()
    staging = target.with_name(f".{target.name}.{os.getpid()}.part")
    staging.mkdir(parents=True)
    try:
        yield staging
        with stage:
            stage.adopt(staging, last=(MANIFEST, CHECKSUMS))
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def publish_card(output: Path, card: str) -> None:
    """Write the card and then the checksums: a release has both, or it has no checksums."""
    with Lock(output, "export", wait=True):
        (output / CHECKSUMS).unlink(missing_ok=True)
        sync(output)
        write_atomically(output / CARD, card)
        write_checksums(output)


def finish_release(stage: Stage, staging: Path, counts: Mapping[str, float]) -> Manifest:
    """Write the manifest of what a release computes with: all files but its card and its checksums."""
    return finish_stage(
        staging,
        stage=STAGE,
        key=stage.key,
        inputs=stage.inputs,
        config=stage.config,
        libraries=["torch", "transformers", "safetensors"],
        counts=counts,
        outputs=[path for path in released_files(staging) if path.name not in (CARD, MANIFEST)],
    )


def _write_model(
    checkpoint: Path, tokens: Path, output: Path, config: Config, vocabulary: int, dtype: Dtype
) -> int:
    """Write weights, tokenizer and settings; returns the number of parameters."""
    padding = special_ids(tokens / "tokenizer")["[PAD]"]
    shape = bert_config(config.model, vocabulary_size=vocabulary, pad_token_id=padding)
    model = BertForPreTraining(shape)
    _load(model, checkpoint)
    save_weights(model, output, dtype)
    for path in sorted((tokens / "tokenizer").iterdir()):
        shutil.copy2(path, output / path.name)
    limit_tokenizer(output, config.model.max_position_embeddings)
    start = Path(config.training.initial_weights).name  # the path is of no use to others
    training = replace(config.training, initial_weights=start)
    write_json(output / SETTINGS, replace(config, training=training))
    return model.num_parameters()


def _load(model: BertForPreTraining, checkpoint: Path) -> None:
    """Read the full-precision weights of a verified checkpoint into a model, a parameter at a time.

    Raises:
        UserError: the checkpoint lacks a parameter, holds another one, or one of another shape.
    """
    with Shards(checkpoint, read_record(checkpoint)["shards"]) as shards:
        # The decoder shares the embeddings' weight, the heads one bias: each is here once.
        parameters = dict(model.named_parameters())
        if strange := parameters.keys() ^ set(shards.names()):
            what = f"the weights do not fit the model ({', '.join(sorted(strange)[:3])} ...)"
            raise UserError(what, where=checkpoint, remedy="export with the version that trained it")
        for name, weights in shards.weights():
            if weights.numel() != parameters[name].numel():
                what = f"{name} has {weights.numel()} elements, the model's has {parameters[name].numel()}"
                remedy = "give the token shards that the run was trained on"
                raise UserError(what, where=checkpoint, remedy=remedy)
            parameters[name].data.copy_(weights.view_as(parameters[name]))
