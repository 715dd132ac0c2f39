"""Continues a general BERT on biomedical text, and scores it beside the weights that it began from.

Every command resumes and every finished run is recorded, so the same line can be started again, here or on
another machine that has the records.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

from biobert_scale.recipes import load_config

KEPT = ("manifest.json", "metrics.json", "documents.jsonl")
"""What `evaluate table` reads of a run."""


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument(
        "--model", type=Path, required=True, help="general weights: a Hugging Face BERT directory"
    )
    parser.add_argument("--benchmarks", type=Path, required=True, help="the benchmarks' original files")
    parser.add_argument("--raw", type=Path, help="PubMed's and PMC's files")
    parser.add_argument(
        "--own", action="append", default=[], metavar="NAME=PATH", help="own text beside them"
    )
    parser.add_argument("--work", type=Path, default=Path("continued"), help="directory of everything made")
    parser.add_argument("--records", type=Path, default=Path("records"), help="directory of finished runs")
    parser.add_argument("--recipe", default="continued-small")
    parser.add_argument("--steps", type=int, nargs="*", default=[1200], help="a continued model ends at each")
    parser.add_argument("--set", action="append", default=[], metavar="SETTING=VALUE", help="of the recipe")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="the weights to fine-tune; else all")
    parser.add_argument(
        "--tasks", nargs="+", default=["NCBI-disease", "BC5CDR-chem", "BC5CDR-disease", "HoC"]
    )
    parser.add_argument("--seeds", nargs="+", default=["1", "2", "3", "4", "5"])
    parser.add_argument("--rates", nargs="+", default=["5e-5", "1e-4", "2e-4"], help="dev chooses, one seed")
    parser.add_argument("--epochs", default="4")
    parser.add_argument("--precision", default="fp32", help="of fine-tuning")
    return parser.parse_args()


def run(*words: object) -> None:
    """Run a command of the package."""
    line = ["biobert-scale", *map(str, words)]
    print("$", *line, flush=True)
    subprocess.run([sys.executable, "-m", "biobert_scale", *line[1:]], check=True)


def make_tokens(given: argparse.Namespace) -> None:
    """The corpus without the test documents of all benchmarks, in the model's own word pieces."""
    work = given.work
    run("evaluate", "prepare", "--benchmarks", given.benchmarks, "--output", work / "prepared")
    sources = ["--raw", given.raw] if given.raw else []
    sources += [word for source in given.own for word in ("--own", source)]
    without = ["--decontaminate", work / "prepared"]
    run("corpus", "build", "--config", given.recipe, *sources, *without, "--output", work / "corpus")
    of = ["--corpus", work / "corpus"]
    tokenizer = json.loads((given.model / "tokenizer_config.json").read_text())
    case = "--lowercase" if tokenizer.get("do_lower_case") else "--no-lowercase"
    taken = ["--vocabulary", given.model, case]
    run("tokens", "vocabulary", *of, *taken, "--output", work / "vocabulary")
    held_out = ["--validation-fraction", load_config(given.recipe).tokens.validation_fraction]
    of += ["--vocabulary", work / "vocabulary", *held_out]
    run("tokens", "build", *of, "--output", work / "tokens")


def continued(given: argparse.Namespace, steps: int) -> Path:
    """The model after so many steps, of a run whose schedule ends there."""
    name = f"{given.model.name}-{steps}-steps"
    home, model = given.work / "runs" / name, given.work / "models" / name
    if not (model / "manifest.json").is_file():
        shape = json.loads((given.model / "config.json").read_text())
        keys = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
        settings = {f"model.{key}": shape[key] for key in (*keys, "max_position_embeddings")}
        settings |= {"training.initial_weights": given.model, "training.schedule.total_steps": steps}
        settings |= dict(setting.split("=", 1) for setting in given.set)
        changes = [word for key, value in settings.items() for word in (f"--{key.replace('_', '-')}", value)]
        of = ["--tokens", given.work / "tokens"]
        run("train", "--config", given.recipe, *of, "--output", home, *changes)
        run("export", home, *of, "--corpus", given.work / "corpus", "--output", model)
    given.records.joinpath(name).mkdir(parents=True, exist_ok=True)
    shutil.copy(home / "metrics.jsonl", given.records / name / "pretraining.jsonl")
    return model


def finetuned(given: argparse.Namespace, name: str, model: Path, task: str, seed: str, *rates: str) -> str:
    """Fine-tune one model on one task, unless there is a record; returns the rate that dev chose."""
    random = name == "random"
    name_of_run = f"{'random' if random else 'pretrained'}-seed{seed}"
    part = Path("grid" if len(rates) > 1 else "final") / name
    record, home = given.records / part / task / name_of_run, given.work / "scores" / part
    if not (record / "metrics.json").is_file():
        words = ["--prepared", given.work / "prepared", "--task", task, "--model", model, "--output", home]
        words += [
            "--seed",
            seed,
            "--epochs",
            given.epochs,
            "--precision",
            given.precision,
            "--no-keep-weights",
        ]
        words += ["--random-weights"] if random else []
        words += ["--grid.learning-rate", *rates] if len(rates) > 1 else ["--learning-rate", *rates]
        # An option for HoC alone: a document's 512 pieces would be four times a sample's.
        words += ["--hallmark-unit", "sentence-union"] if task.startswith("HoC") else []
        run("evaluate", "finetune", *words)
        record.mkdir(parents=True, exist_ok=True)
        for file in KEPT:
            shutil.copy(home / task / name_of_run / file, record / file)
    selection = json.loads((record / "metrics.json").read_text())["selection"]
    rate, epochs = selection["chosen"]["learning_rate"], selection["chosen"]["epochs"]
    if rate not in map(float, rates) or epochs != int(given.epochs):
        raise SystemExit(
            f"{record} has learning rate {rate} and {epochs} epochs, not those asked for: remove it"
        )
    return str(rate)


def main() -> None:
    """All of it, in the order in which a table that is cut short says most."""
    given = options()
    make_tokens(given)
    models = {"not-continued": given.model, "random": given.model}
    for steps in given.steps:
        model = continued(given, steps)
        models[model.name] = model
    models = {name: model for name, model in models.items() if name in (given.only or models)}
    chosen: dict[tuple[str, str], str] = {}
    for seed in given.seeds:
        for task in given.tasks:
            for name, model in models.items():
                if (name, task) not in chosen:
                    chosen[name, task] = finetuned(given, name, model, task, given.seeds[0], *given.rates)
                finetuned(given, name, model, task, seed, chosen[name, task])
    baselines, record = given.work / "baselines", given.records / "final" / "baselines"
    if not record.is_dir():
        run("evaluate", "baselines", "--prepared", given.work / "prepared", "--output", baselines)
        shutil.copytree(baselines, record, ignore=shutil.ignore_patterns("predictions.*"))
    run("evaluate", "table", given.records / "final", "--output", given.work / "table")


if __name__ == "__main__":
    main()
