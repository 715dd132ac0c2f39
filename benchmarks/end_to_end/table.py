"""Raw XML to a validation loss: this package's stages beside pubmed-parser, `datasets.map` and transformers'
`Trainer`, stage by stage."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from datasets import load_from_disk
from transformers import AutoTokenizer, BertForMaskedLM, DataCollatorForLanguageModeling

from benchmarks.child import Measured, command, run_measured
from benchmarks.corpus.stage import serialised_records, write_records
from benchmarks.corpus.table import pubmed_parser
from benchmarks.end_to_end.page import end_to_end_figure, end_to_end_page
from benchmarks.end_to_end.peer import masked_lm_loss
from benchmarks.end_to_end.records import EndToEndResult, Files, Parsed, PeerTraining, Side, StageCost, Way
from benchmarks.learning.peer import plain_model
from benchmarks.learning.table import read_run, require_one_device, shortened, train_command
from benchmarks.result import conditions, device_name, write_result
from benchmarks.trainer import Rows, rows
from biobert_scale.config import Config
from biobert_scale.corpus.raw import find_raw_files
from biobert_scale.data.stream import SampleStream
from biobert_scale.errors import UserError
from biobert_scale.files import read_manifest, write_json
from biobert_scale.ranges import within
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


@within(loss="[0, 1000]", steps="[0, 1e9]", repeats="[1, 1000]")
def end_to_end(
    *, raw: Path, output: Path, config: str = "demo-real", loss: float = 0.0, steps: int = 0, repeats: int = 1
) -> None:
    """Go from raw XML to a validation loss, beside pubmed-parser, datasets.map and the Trainer.

    Writes dated JSON, Markdown and a picture.

    Args:
        raw: directory of MEDLINE `*.xml.gz` files; PMC packages in it are left alone.
        output: directory of the results.
        config: recipe: a name or the path of a TOML file. One batch of it must fit the device, padded.
        loss: held-out MLM loss in nats, the time to which is reported; 0 for the worse of the two final
            losses.
        steps: optimizer steps of each side, the warm-up shortened in proportion; 0 for the recipe's.
        repeats: times that both sides run, one after the other.
    """
    read = load_config(config)
    if pubmed_parser() is None:
        raise UserError(
            "the package pubmed-parser is not installed",
            where="end-to-end",
            remedy="install it with `pip install -e '.[bench]'`",
        )
    require_one_device("end-to-end")
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
    result: EndToEndResult = {
        **conditions(
            f"end-to-end --raw DIR --config {config if config in recipe_names() else 'FILE'}"
            f" --steps {recipe.training.schedule.total_steps} --repeats {repeats}"
            + (f" --loss {loss:g}" if loss else ""),
            _LIBRARIES,
        ),
        "load_before": load,
        "device": device_name("CPU, one thread for each side"),
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
    print(page)


def read_by_both(raw: Path, target: Path) -> Files:
    """Write the MEDLINE files without the records that pubmed-parser stops at, and count files, records and
    those left out.

    Raises:
        UserError: there is no MEDLINE file that both read.
    """
    files = [file.path for file in find_raw_files(raw) if file.source == "medline"]
    target.mkdir(parents=True)
    counts: Files = {"files": len(files), "records": 0, "left_out": 0}
    for number, path in enumerate(files):
        records = serialised_records(path)
        kept = _parsed(records, target / "tried.xml.gz")
        counts["records"] += len(kept)
        counts["left_out"] += len(records) - len(kept)
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


def one_round(raw: Path, place: Path, recipe: Config) -> list[Side]:
    """This package's side, then the peer's, with the same vocabulary, initial weights and held-out
    samples."""
    place.mkdir()
    write_json(place / "recipe.json", recipe)
    ours = _ours(raw, place, recipe)
    held_out = load_from_disk(place / "tokens" / "validation")
    write_json(place / "held-out-ids.json", [name.removeprefix("pmid:") for name in held_out["id"]])
    peers = _peers(raw, place, recipe, vocabulary=ours["stages"]["vocabulary"])
    export_model(place / "run", place / "tokens", place / "export")
    blocks = _blocks(held_out["input_ids"], place / "tokens" / "tokenizer", recipe)
    sides: list[Side] = [
        {**way, "blocks_loss": masked_lm_loss(BertForMaskedLM.from_pretrained(model), blocks)}
        for way, model in ((ours, place / "export"), (peers, place / "peer" / "model"))
    ]
    shutil.rmtree(place)
    return sides


def _ours(raw: Path, place: Path, recipe: Config) -> Way:
    paths = {"config": str(place / "recipe.json"), "raw": str(raw), "place": str(place)}
    measured = {
        stage: run_measured(command("benchmarks.end_to_end.ours", {"stage": stage, **paths}))
        for stage in ("corpus", "vocabulary", "tokens")
    }
    measured["training"] = run_measured(
        train_command(config=place / "recipe.json", tokens=place / "tokens", output=place / "run")
    )
    # The last file of a run before its trackers, of which it has none here, and its first step.
    ready_at = (place / "run" / "device.json").stat().st_mtime
    return {
        "name": "biobert_scale",
        "documents": read_manifest(place / "tokens").counts["train"]["documents"],
        "stages": {
            **{stage: _cost(one) for stage, one in measured.items()},
            "training": _training_cost(measured["training"], ready_at),
        },
        **read_run(place / "run", recipe),
    }


def _peers(raw: Path, place: Path, recipe: Config, *, vocabulary: StageCost) -> Way:
    tokenizer = place / "tokens" / "tokenizer"
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

    def measure(stage: str, **options: Path | int) -> Measured:
        arguments = {name: each if isinstance(each, int) else str(each) for name, each in options.items()}
        return run_measured(
            command("benchmarks.end_to_end.peer", {"stage": stage, "place": str(place / "peer"), **arguments})
        )

    corpus = measure("corpus", raw=raw, held_out_ids=place / "held-out-ids.json")
    tokens = measure("tokens", tokenizer=tokenizer, max_seq_length=recipe.data.max_seq_length)
    training = measure(
        "training",
        config=place / "recipe.json",
        tokenizer=tokenizer,
        start=place / "start",
        held_out=place / "held-out.pt",
    )
    parsed: Parsed = json.loads(corpus["answer"])
    trained: PeerTraining = json.loads(training["answer"])
    return {
        "name": "pubmed-parser, datasets, Trainer",
        "documents": parsed["documents"],
        "stages": {
            "corpus": _cost(corpus),
            "vocabulary": vocabulary,
            "tokens": _cost(tokens),
            "training": _training_cost(training, trained["ready_at"]),
        },
        "curve": trained["curve"],
        "training_seconds": trained["training_seconds"],
        "real_tokens": trained["real_tokens"],
    }


def _cost(measured: Measured) -> StageCost:
    return {
        "seconds": measured["seconds"],
        "cpu_seconds": measured["cpu_seconds"],
        "peak_memory_bytes": measured["peak_memory_bytes"],
    }


def _training_cost(measured: Measured, ready_at: float) -> StageCost:
    return {**_cost(measured), "start_seconds": ready_at - measured["begun_at"]}


def _blocks(documents: list[list[int]], tokenizer: Path, recipe: Config) -> list[Rows]:
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
