"""What people put together otherwise: pubmed-parser, `datasets.map`, and transformers' `Trainer` as in its
`run_mlm` example.

Each stage runs in a process of its own for the end-to-end benchmark.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.child import answer
from biobert_scale.files import read_json

if TYPE_CHECKING:  # their libraries would be counted in every stage
    from benchmarks.end_to_end.records import Parsed, PeerTraining
    from benchmarks.trainer import Rows, Score


def run_stage(*, stage: str, place: str, **options: Any) -> Any:
    """Run one stage.

    Args:
        stage: `corpus`, `tokens` or `training`.
        place: where all of them write.
    """
    functions: dict[str, Callable[..., Any]] = {
        "corpus": parse,
        "tokens": tokenize,
        "training": train,
    }
    return functions[stage](Path(place), **options)


def parse(place: Path, *, raw: str, held_out_ids: str) -> Parsed:
    """MEDLINE files to a data set of titles with abstracts: the last record of a PMID counts, and the
    held-out ones are left out."""
    import pubmed_parser
    from datasets import Dataset

    texts: dict[str, str] = {}
    for path in sorted(Path(raw).iterdir()):
        for record in pubmed_parser.parse_medline_xml(str(path)):
            texts[record["pmid"]] = f"{record['title']}\n{record['abstract']}" if record["abstract"] else ""
    held_out = set(read_json(Path(held_out_ids)))
    kept = [text for pmid, text in texts.items() if text and pmid not in held_out]
    Dataset.from_dict({"text": kept}).save_to_disk(place / "parsed")
    return {"documents": len(kept)}


def tokenize(place: Path, *, tokenizer: str, max_seq_length: int) -> None:
    """Word pieces laid end to end in full blocks, as `run_mlm` groups them."""
    import logging

    import datasets
    from transformers import AutoTokenizer

    logging.getLogger("transformers").setLevel(logging.ERROR)  # a document is longer than the model's input
    datasets.disable_progress_bars()
    pieces = AutoTokenizer.from_pretrained(tokenizer)
    documents = datasets.load_from_disk(place / "parsed")
    tokenized = documents.map(
        lambda rows: pieces(rows["text"], return_special_tokens_mask=True),
        batched=True,
        remove_columns=["text"],
    )

    def group(rows: dict[str, list[list[int]]]) -> dict[str, list[list[int]]]:
        joined = {name: list(itertools.chain.from_iterable(lists)) for name, lists in rows.items()}
        whole = len(joined["input_ids"]) // max_seq_length * max_seq_length
        return {
            name: [values[start : start + max_seq_length] for start in range(0, whole, max_seq_length)]
            for name, values in joined.items()
        }

    blocks = tokenized.map(group, batched=True)
    blocks.save_to_disk(place / "blocks")


def train(place: Path, *, config: str, tokenizer: str, start: str, held_out: str) -> PeerTraining:
    """Train on the blocks, with masks drawn anew for each batch.

    Args:
        config: the recipe's file.
        start: a model directory with the weights to start from.
        held_out: a file of this package's held-out samples, padded and masked.
    """
    import datasets
    import torch
    from transformers import AutoTokenizer, BertForMaskedLM, DataCollatorForLanguageModeling

    from benchmarks.trainer import EqualRates, Evaluation, training_arguments
    from biobert_scale.recipes import load_config

    recipe = load_config(config)
    collate = DataCollatorForLanguageModeling(
        AutoTokenizer.from_pretrained(tokenizer), mlm_probability=recipe.data.mlm_probability
    )
    tokens: list[int] = []

    def counted(items: list[dict[str, Any]]) -> Any:
        batch = collate(items)
        tokens.append(batch["input_ids"].numel())  # blocks are full
        return batch

    samples: list[Rows] = torch.load(held_out)

    def score(model: BertForMaskedLM, step: int) -> Score:
        return {
            "consumed_tokens": sum(tokens[:step]),
            "validation/mlm_loss": masked_lm_loss(model, samples),
        }  # a batch ahead may have been made

    watch = Evaluation(score, every_steps=recipe.training.validation.every_steps)
    arguments = training_arguments(recipe, place / "trainer", batch_size=recipe.training.global_batch_size)
    trainer = EqualRates(
        model=BertForMaskedLM.from_pretrained(start),
        args=arguments,
        train_dataset=datasets.load_from_disk(place / "blocks"),
        data_collator=counted,
        callbacks=[watch],
    )
    trainer.train()
    trainer.save_model(str(place / "model"))
    return {
        "curve": watch.curve,
        "training_seconds": watch.seconds,
        "real_tokens": sum(tokens[: recipe.training.schedule.total_steps]),
        "ready_at": watch.ready_at,
    }


def masked_lm_loss(model: Any, batches: list[Rows]) -> float:
    """Mean loss over all predictions, in nats, of a `BertForMaskedLM`. It was trained without segments, and
    sees none."""
    import torch

    total, predictions = 0.0, 0
    model.eval()
    with torch.no_grad():
        for batch in batches:
            labels = batch["labels"].to(model.device)
            logits = model(
                input_ids=batch["input_ids"].to(model.device),
                attention_mask=batch["attention_mask"].to(model.device),
            ).logits
            total += torch.nn.functional.cross_entropy(
                logits.float().flatten(0, 1), labels.flatten(), reduction="sum"
            ).item()
            predictions += int((labels != -100).sum())
    model.train()
    return total / predictions


if __name__ == "__main__":
    answer(run_stage)
