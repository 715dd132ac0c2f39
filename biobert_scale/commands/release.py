"""The options of `export` and `tag`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional

from biobert_scale.commands.common import check_models, cluster, report_stage
from biobert_scale.config import SlurmConfig
from biobert_scale.display import show, size, table, written
from biobert_scale.errors import UserError
from biobert_scale.ranges import within


def export(
    source: Positional[Path],
    /,
    *,
    output: Path,
    tokens: Path | None = None,
    dtype: Literal["fp32", "fp16", "both"] = "fp32",
    onnx: bool = False,
    corpus: Path | None = None,
    evaluation: Path | None = None,
    license: str = "",
    all_milestones: bool = False,
    push: str = "",
    revision: str = "",
    private: bool = False,
    endpoint: str = "",
    overwrite: bool = False,
) -> None:
    """Write a checkpoint or a fine-tuned model for transformers; with --push to a hub.

    A Hugging Face model directory, with its tokenizer, card and checksums.

    Args:
        source: a pre-training run (its newest intact checkpoint is taken), a checkpoint, or a fine-tuning
            run.
        output: directory to write.
        tokens: the token shards that the model was pre-trained on, for the tokenizer (not for a fine-tuning
            run).
        dtype: of the weights; both: fp32, and fp16 as the variant "fp16" beside it.
        onnx: of a fine-tuned tagger of entities: also write it as ONNX, in fp32 and in int8 (needs the extra
            `onnx`).
        corpus: the corpus of those tokens: the card then lists its parts and their licences.
        evaluation: directory of fine-tuning runs: the card then lists the scores of those that started from
            this model.
        license: of the weights, as the hub spells it (apache-2.0, cc-by-4.0); without it the card names none.
        all_milestones: export every checkpoint that the run keeps for good, each to a directory step-N of the
            output, and push it to a revision of this name; the newest is the main revision, too.
        push: repository OWNER/NAME of a hub that everything is pushed to in one commit. Needs a token
            (HF_TOKEN, or `hf auth login`).
        revision: the repository's branch to push to, made where it is missing (default: the main one).
        private: make a new repository private.
        endpoint: the hub's address (default: huggingface_hub's, which HF_ENDPOINT changes).
        overwrite: replace an earlier export of something else.
    """
    if not push and (private or endpoint or revision):
        remedy = "add --push OWNER/NAME, or leave them out"
        what = "--private, --endpoint and --revision without --push"
        raise UserError(what, where="command line", remedy=remedy)
    if all_milestones and (evaluation or revision):
        what = "--evaluation and --revision are of one milestone"
        remedy = "give its checkpoint, without --all-milestones"
        raise UserError(what, where="command line", remedy=remedy)
    from biobert_scale.release.finetuning_results import is_finetuned
    from biobert_scale.release.push import Hub, push_release, token_for

    hub = Hub(repository=push, endpoint=endpoint, revision=revision, private=private)
    if push:
        token_for(hub)  # before the export's minutes
    if is_finetuned(source):
        if tokens or corpus or evaluation or all_milestones:
            what = "--tokens, --corpus, --evaluation and --all-milestones go with a pre-training run"
            raise UserError(what, where=source, remedy="leave them out")
        from biobert_scale.release.finetuned import export_finetuned

        export_finetuned(source, output, dtype=dtype, onnx=onnx, license=license, overwrite=overwrite)
        _exported(output, dtype)
    else:
        if onnx:
            remedy = "fine-tune it first: `biobert-scale evaluate finetune`"
            raise UserError("--onnx goes with a fine-tuned tagger", where=source, remedy=remedy)
        if tokens is None:
            remedy = "add --tokens: the shards that the run was trained on"
            raise UserError("no token shards", where=source, remedy=remedy)
        from biobert_scale.release.export import export_model, find_milestones

        sources = {output: source}
        if all_milestones:
            sources = {output / name: checkpoint for name, checkpoint in find_milestones(source).items()}
        for directory, one in sources.items():
            export_model(
                one,
                tokens,
                directory,
                dtype=dtype,
                corpus=corpus,
                evaluation=evaluation,
                license=license,
                overwrite=overwrite,
            )
            _exported(directory, dtype)
            if push and all_milestones:
                show(f"pushed: {push_release(directory, replace(hub, revision=directory.name))}")
        output = directory
    if push:
        show(f"pushed: {push_release(output, hub)}")


def _exported(output: Path, dtype: str) -> None:
    sizes = [(f"  {file.name}", size(file.stat().st_size)) for file in sorted(output.iterdir())]
    show(table([(f"model for transformers, {dtype}",), *sizes]), written(output))


@within(batch_tokens="[0, 1e9]", max_seq_length="0 or [8, 32768]", workers="[0, 10000]")
def tag(
    models: Positional[tuple[Path, ...]],
    /,
    *,
    input: tuple[Path, ...] = (Path("-"),),
    output: Path = Path("-"),
    format: Literal["jsonl", "pubtator", "bioc", "csv", "html"] = "jsonl",
    input_format: Literal["auto", "lines", "text", "pubmed", "jats", "bioc", "pubtator"] = "auto",
    device: str = "auto",
    backend: Literal["torch", "onnx"] = "torch",
    precision: Literal["auto", "fp32", "bf16", "int8"] = "auto",
    batch_tokens: int = 0,
    max_seq_length: int = 0,
    workers: int = 0,
    executor: Literal["local", "slurm"] = "local",
    slurm: Annotated[SlurmConfig, tyro.conf.arg(name="")] = SlurmConfig(),
    overwrite: bool = False,
) -> int:
    """Mark the entities of text, PubMed XML, full texts, BioC or PubTator, with offsets.

    As a stream in the input's order; with --workers or --executor slurm a file for each input, into a
    directory.

    Args:
        models: fine-tuned models that were exported (or fine-tuning runs); each marks its own types.
        input: files, compressed or not; packages of XML (tar, zip); directories; patterns ('raw/*.xml.gz'); -
            for standard input.
        output: a file; - for standard output. With --workers or --executor slurm a directory, with a file for
            each input; an interrupted run resumes.
        format: jsonl: {"id", "text", "entities": [{"start", "end", "type", "text", "score"}]}; pubtator;
            bioc: BioC JSON; csv: a row for each entity; html: a page with the entities in colours.
        input_format: lines: a document a line; text: the whole file is one; pubmed: PubMed XML; jats:
            articles and books (PMC); bioc: BioC XML or JSON; pubtator; auto: by the first bytes.
        device: cpu, cuda, cuda:1, ...; auto: a GPU where there is one.
        backend: onnx: ONNX Runtime, on models that were exported with --onnx.
        precision: of the matrix products; auto: bf16 on a GPU that computes in it, fp32 elsewhere. On a CPU
            bf16 needs its instruction; int8 quantises the weights as they are loaded.
        batch_tokens: word pieces in one forward pass; 0 for 2,048 on a CPU, 8,192 on a GPU.
        max_seq_length: word pieces in one window, overlapping in longer sentences; 0 for what the model was
            fine-tuned with.
        workers: processes at once, each on one core, which share a single large file out as well; 0 for none:
            one stream from all inputs to one file.
        executor: this machine, or array jobs of a SLURM cluster; the output does not depend on it.
        slurm: the array jobs.
        overwrite: replace what other inputs or settings wrote into the directory.
    """
    check_models(models)
    import logging
    import os
    import sys

    from biobert_scale.tag.documents import find_inputs, passed_over, read_inputs
    from biobert_scale.tag.run import tag_stream
    from biobert_scale.tag.sharded import tag_files
    from biobert_scale.tag.tagger import TaggerConfig, choose_device, load_taggers

    cluster_settings = cluster(executor, slurm)
    files, not_read = find_inputs(input)
    config = TaggerConfig(
        device=choose_device(device).type if device == "auto" else device,
        backend=backend,
        precision=precision,
        max_seq_length=max_seq_length,
        batch_tokens=batch_tokens,
    )
    log = logging.getLogger(__name__)
    if workers or cluster_settings:
        if not_read:
            log.info("passed over: %s", passed_over(not_read))
        manifest = tag_files(
            models,
            files,
            output,
            format,
            given=input,
            input_format=input_format,
            config=config,
            workers=max(workers, 1),
            slurm=cluster_settings,
            overwrite=overwrite,
        )
        report_stage(manifest, output)
        return 0
    damaged: list[UserError] | None = [] if len(files) > 1 else None
    taggers = load_taggers(models, config)
    try:
        documents = read_inputs(files, input_format, not_read=not_read, damaged=damaged)
        counts = tag_stream(documents, taggers, output, format)
    except BrokenPipeError:  # `| head`: who reads has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    if not_read:
        log.info("passed over: %s", passed_over(not_read))
    log.info(
        "%s documents, %s characters in %.1f s: %s",
        f"{counts.documents:,}",
        f"{counts.characters:,}",
        counts.seconds,
        ", ".join(f"{number:,} {kind}" for kind, number in counts.entities.items()) or "no entity",
    )
    if damaged:
        what = f"{len(damaged)} of {len(files)} files could not be read to their end (each is named above)"
        remedy = "mend them, and tag them alone; the output has the documents of all others"
        raise UserError(what, where=damaged[0].where, remedy=remedy)
    return 0
