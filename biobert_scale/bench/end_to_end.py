"""Raw XML to a validation loss: this package's stages beside pubmed-parser, `datasets.map` and transformers'
`Trainer`, stage by stage."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import torch
from datasets import load_from_disk
from transformers import AutoTokenizer, BertForMaskedLM, DataCollatorForLanguageModeling

from biobert_scale.bench.child import run_measured
from biobert_scale.bench.corpus import pubmed_parser
from biobert_scale.bench.end_to_end_page import end_to_end_figure, end_to_end_page
from biobert_scale.bench.end_to_end_peer import masked_lm_loss
from biobert_scale.bench.environment import machine, versions
from biobert_scale.bench.learning import shortened, told_by_run, train_command
from biobert_scale.bench.learning_peer import plain_model, rows
from biobert_scale.bench.results import write_result
from biobert_scale.bench.stage import serialised_records, write_records
from biobert_scale.config import Config
from biobert_scale.corpus.raw import find_raw_files
from biobert_scale.data.stream import SampleStream
from biobert_scale.errors import UserError
from biobert_scale.files import read_manifest, write_json
from biobert_scale.recipes import load_config, recipe_names
from biobert_scale.release.export import export_model
from biobert_scale.tokens.vocabulary import special_ids

_LIBRARIES = (
    "torch",
    "transformers",
    "accelerate",
    "deepspeed",
    "datasets",
    "tokenizers",
    "pubmed-parser",
    "lxml",
)
_POINTS = 40
_PARSER_REMEDY = "pip install 'biobert_scale[bench]'"


def bench_end_to_end(
    raw: Path, output: Path, *, config: str, loss: float = 0.0, steps: int = 0, repeats: int = 1
) -> str:
    """Go the whole way both ways, and write `end-to-end-DATE.json`, `.md` and `.png`.

    Args:
        raw: directory of MEDLINE files; PMC packages in it are left alone.
        output: directory of the results.
        config: recipe, by name or path.
        loss: the validation MLM loss, in nats, that the time is told of; 0 for the worse of the two final
            losses.
        steps: optimizer steps of each side, the warm-up shortened in proportion; 0 for the recipe's.
        repeats: times that both sides run, one after the other.

    Returns:
        The page.

    Raises:
        UserError: pubmed-parser is missing, there is no MEDLINE file, or a number is out of range.
        RunFailed: a stage failed.
    """
    read = load_config(config)
    if pubmed_parser() is None:
        raise UserError(
            "the package pubmed-parser is not installed", where="bench end-to-end", remedy=_PARSER_REMEDY
        )
    if steps < 0 or loss < 0 or repeats < 1:
        raise UserError(
            "a negative number, or no run at all",
            where="bench end-to-end",
            remedy="see `biobert-scale bench end-to-end --help`",
        )
    if torch.cuda.device_count() > 1:
        raise UserError(
            "more than one GPU: the Trainer would spread each batch over all",
            where="bench end-to-end",
            remedy="show it one, as with CUDA_VISIBLE_DEVICES=0",
        )
    recipe = shortened(read, steps or read.training.schedule.total_steps, points=_POINTS)
    recipe = replace(
        recipe, training=replace(recipe.training, trackers=())
    )  # the Trainer reports to none either
    with tempfile.TemporaryDirectory(prefix="biobert-scale-") as temporary:
        scratch = Path(temporary)
        files, load = read_by_both(raw, scratch / "raw"), os.getloadavg()[0]
        rounds = [
            one_round(scratch / "raw", scratch / f"round-{number}", recipe) for number in range(repeats)
        ]
    finals = [side["curve"][-1]["validation/mlm_loss"] for sides in rounds for side in sides]
    result: dict[str, Any] = {
        "date": date.today().isoformat(),
        "machine": machine(),
        "load_before": load,
        "device": (
            torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU, one thread for each side"
        ),
        "versions": versions(_LIBRARIES),
        "command": (
            "biobert-scale bench end-to-end --raw DIR --config"
            f" {config if config in recipe_names() else 'FILE'} --steps"
            f" {recipe.training.schedule.total_steps} --repeats {repeats}"
            + (f" --loss {loss:g}" if loss else "")
        ),
        "recipe_dtype": read.training.precision.dtype,
        "files": files,
        "settings": recipe,
        "loss": loss or max(finals),
        "loss_given": bool(loss),
        "rounds": rounds,
    }
    stem = f"end-to-end-{result['date']}"
    page = end_to_end_page(result, recipe, figure=f"{stem}.png")
    write_result(output, stem, result, page, end_to_end_figure(result))
    return page


def read_by_both(raw: Path, target: Path) -> dict[str, int]:
    """Write the MEDLINE files without the records that pubmed-parser stops at, and count files, records and
    those left out.

    Raises:
        UserError: there is no MEDLINE file that both read.
    """
    files = [file.path for file in find_raw_files(raw) if file.source == "medline"]
    target.mkdir(parents=True)
    counts = {"files": len(files), "records": 0, "left_out": 0}
    for number, path in enumerate(files):
        records = serialised_records(path)
        kept = _parsed(records, target / "tried.xml.gz")
        counts["records"], counts["left_out"] = (
            counts["records"] + len(kept),
            counts["left_out"] + len(records) - len(kept),
        )
        if kept:
            write_records(target / f"pubmed24n{number:04d}.xml.gz", kept)  # in the order in which they apply
    (target / "tried.xml.gz").unlink(missing_ok=True)
    if not counts["records"]:
        raise UserError(
            "no MEDLINE record that pubmed-parser reads",
            where=raw,
            remedy="name a directory with MEDLINE *.xml.gz files",
        )
    return counts


def _parsed(records: list[bytes], path: Path) -> list[bytes]:
    """Those that pubmed-parser reads; what stops it is looked for by halves."""
    if not records:
        return []
    write_records(path, records)
    try:
        for _ in pubmed_parser().parse_medline_xml(str(path)):
            pass
    except Exception:  # whatever it is: the peer would stop
        half = len(records) // 2
        return _parsed(records[:half], path) + _parsed(records[half:], path) if half else []
    return records


def one_round(raw: Path, place: Path, recipe: Config) -> list[dict[str, Any]]:
    """This package's side, then the peer's, with the same vocabulary, initial weights and held-out samples.

    Returns:
        Of each: `name`, `stages` (see `run_measured`; of the training `start_seconds` too), `documents`,
        `curve`, `training_seconds`, `real_tokens`, and `blocks_loss`, the final model's on the held-out
        documents in the other form.
    """
    place.mkdir()
    write_json(place / "recipe.json", recipe)
    ours = _ours(raw, place, recipe)
    held_out = load_from_disk(place / "tokens" / "validation")
    write_json(place / "held-out-ids.json", [name.removeprefix("pmid:") for name in held_out["id"]])
    peers = _peers(raw, place, recipe, vocabulary=ours["stages"]["vocabulary"])
    export_model(place / "run", place / "tokens", place / "export")
    blocks = _blocks(held_out["input_ids"], place / "tokens" / "tokenizer", recipe)
    for side, model in ((ours, place / "export"), (peers, place / "peer" / "model")):
        side["blocks_loss"] = masked_lm_loss(BertForMaskedLM.from_pretrained(model), blocks)
    shutil.rmtree(place)
    return [ours, peers]


def _ours(raw: Path, place: Path, recipe: Config) -> dict[str, Any]:
    told: dict[str, dict[str, Any]] = {}
    for stage in ("corpus", "vocabulary", "tokens"):
        told[stage] = run_measured(
            _command(
                "ours",
                {"stage": stage, "config": str(place / "recipe.json"), "raw": str(raw), "place": str(place)},
            )
        )
    told["training"] = run_measured(
        train_command(config=place / "recipe.json", tokens=place / "tokens", output=place / "run")
    )
    # The last that a run writes of its setting up, but for opening its trackers, of which it has none here.
    ready_at = (place / "run" / "device.json").stat().st_mtime
    return {
        "name": "biobert_scale", "documents": read_manifest(place / "tokens").counts["train"]["documents"],
        "stages": _stages(told, ready_at), **told_by_run(place / "run", recipe),
    }  # fmt: skip


def _peers(raw: Path, place: Path, recipe: Config, *, vocabulary: dict[str, Any]) -> dict[str, Any]:
    tokenizer, directory = place / "tokens" / "tokenizer", place / "peer"
    pad_token_id = special_ids(tokenizer)["[PAD]"]
    stream = SampleStream.open(
        place / "tokens", place / "run" / "samples", recipe.data, seed=recipe.seed, split="validation"
    )
    batches = stream.validation(
        recipe.training.validation.sequences,
        micro_batch_size=recipe.training.micro_batch_size,
        world_size=1,
        rank=0,
    )
    torch.save([rows(batch, pad_token_id) for batch in batches], place / "held-out.pt")
    plain_model(recipe, place / "tokens", pad_token_id).save_pretrained(place / "start")
    stages: dict[str, dict[str, Any]] = {
        "corpus": {"raw": str(raw), "held_out_ids": str(place / "held-out-ids.json")},
        "tokens": {"tokenizer": str(tokenizer), "max_seq_length": recipe.data.max_seq_length},
        "training": {
            "config": str(place / "recipe.json"),
            "tokenizer": str(tokenizer),
            "start": str(place / "start"),
            "held_out": str(place / "held-out.pt"),
        },
    }
    told = {
        stage: run_measured(_command("peer", {"stage": stage, "place": str(directory), **options}))
        for stage, options in stages.items()
    }
    said = {stage: json.loads(one["said"]) for stage, one in told.items()}
    ready_at = said["training"].pop("ready_at")
    told = {
        "corpus": told["corpus"],
        "vocabulary": vocabulary,
        "tokens": told["tokens"],
        "training": told["training"],
    }
    return {
        "name": "pubmed-parser, datasets, Trainer",
        "documents": said["corpus"]["documents"],
        "stages": _stages(told, ready_at),
        **said["training"],
    }


def _command(side: str, arguments: dict[str, str]) -> list[str]:
    return [
        sys.executable,
        "-m",
        f"biobert_scale.bench.end_to_end_{side}",
        json.dumps(arguments),
        repr(time.monotonic()),
    ]


def _stages(told: dict[str, dict[str, Any]], ready_at: float) -> dict[str, Any]:
    """What is kept of each stage's measurement."""
    kept = {
        stage: {name: one[name] for name in ("seconds", "cpu_seconds", "peak_memory_bytes")}
        for stage, one in told.items()
    }
    kept["training"]["start_seconds"] = ready_at - told["training"]["begun_at"]
    return kept


def _blocks(documents: list[list[int]], tokenizer: Path, recipe: Config) -> list[dict[str, torch.Tensor]]:
    """The held-out documents end to end in full blocks, as the peer was trained, and masked by its
    collator."""
    length, special = recipe.data.max_seq_length, special_ids(tokenizer)
    row = [token for document in documents for token in (special["[CLS]"], *document, special["[SEP]"])]
    blocks = [{"input_ids": row[first : first + length]} for first in range(0, len(row) - length + 1, length)]
    collate = DataCollatorForLanguageModeling(
        AutoTokenizer.from_pretrained(tokenizer), mlm_probability=recipe.data.mlm_probability
    )
    torch.manual_seed(recipe.seed)
    size = recipe.training.micro_batch_size
    batches = [collate(blocks[first : first + size]) for first in range(0, len(blocks), size)]
    return [{**batch, "attention_mask": torch.ones_like(batch["input_ids"])} for batch in batches]
