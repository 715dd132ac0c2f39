"""The page's parts about data, training, configuration and machine; each says in a line when its stage has
not run."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from biobert_scale.corpus.document import SOURCES
from biobert_scale.report import figures
from biobert_scale.report.by_source import held_by_source, seen_by_source
from biobert_scale.report.continuity import Continuity, check_continuity
from biobert_scale.report.markup import (
    Html,
    details,
    duration,
    element,
    figure,
    join,
    large,
    number,
    paragraph,
    percent,
    section,
    table,
)
from biobert_scale.report.sources import Sources, toml_text

_SOURCE_NAMES = {"medline": "MEDLINE abstracts", "pmc": "PMC full texts"}
_MARK = "Synthetic data. "
_MOST_ZOOMS = 4


def banner(sources: Sources) -> Html:
    """A warning that nothing can overlook, where the literature is made up."""
    if sources.synthetic is None:
        return Html("")
    made = sources.synthetic.config
    text = (
        f"the literature and the benchmarks were made up by a program (seed {made['seed']},"
        f" {made['abstracts']:,} abstracts, {made['full_texts']:,} full texts). The numbers on this page show"
        " that the software works; they say nothing about real text."
    )
    return element(
        "p", join([element("strong", "Synthetic data:"), text]), class_="banner", id="synthetic", role="note"
    )


def summary(sources: Sources) -> Html:
    """The row of key numbers."""
    tiles = [*_data_tiles(sources), *_training_tiles(sources)]
    shown = [
        element("div", join([element("dt", name), element("dd", value), element("dd", note, class_="aside")]))
        for name, value, note in tiles
    ]
    return element("dl", join(shown), id="summary", class_="tiles")


def _data_tiles(sources: Sources) -> list[tuple[str, str, str]]:
    tiles = []
    if sources.corpus:
        counts = sources.corpus.counts
        tiles.append(("Documents", large(counts["documents"]), f"of {number(counts['records'])} records"))
    if sources.tokens:
        tokens = {split: sources.tokens.counts[split]["tokens"] for split in ("train", "validation")}
        tiles.append(("Tokens", large(sum(tokens.values())), f"{large(tokens['validation'])} held out"))
    if sources.export:
        tiles.append(("Parameters", large(sources.export.counts["parameters"]), "in the exported weights"))
    return tiles


def _training_tiles(sources: Sources) -> list[tuple[str, str, str]]:
    if not sources.training:
        return []
    last, total = sources.training[-1], sources.setting("training", "schedule", "total_steps")
    of = f"of {number(total)}, " if total else ""
    tiles = [
        ("Steps", number(last["global_step"]), of + ("finished" if sources.finished else "not finished"))
    ]
    if sources.validation:
        first, final = (
            record["validation/mlm_loss"] for record in (sources.validation[0], sources.validation[-1])
        )
        tiles.append(
            (
                "Validation MLM loss",
                f"{first:.3f} → {final:.3f}",
                f"{100 * (final - first) / first:+.1f}%, nats per prediction",
            )
        )
        tiles.append(
            (
                "NSP accuracy",
                f"{100 * sources.validation[-1]['validation/nsp_accuracy']:.1f}%",
                _nsp_chance(sources),
            )
        )
    tiles.append(
        ("Time in steps", duration(step_seconds(sources)), f"{large(last['consumed_tokens'])} tokens seen")
    )
    return tiles


def _nsp_chance(sources: Sources) -> str:
    if sources.samples is None:
        return "on validation"
    held_out = sources.samples.counts["validation"]
    commoner = max(held_out["random_next"], held_out["samples"] - held_out["random_next"])
    return f"on validation; one constant answer: {percent(commoner, held_out['samples'])}"


def step_seconds(sources: Sources) -> float:
    """Seconds in training steps: each record's step time counts for the steps since the record before it."""
    total, before = 0.0, 0
    for record in sources.training:
        attempts = record["global_step"] + record.get("optim/skipped_steps", 0)
        total += record["perf/step_seconds"] * max(attempts - before, 0)
        before = attempts
    return total


def corpus(sources: Sources) -> Html:
    if sources.corpus is None:
        return section("corpus", "Corpus", paragraph("Not built yet."))
    counts, rejects = sources.corpus.counts, sources.corpus.rejects
    rows: list[tuple[object, ...]] = []
    for source, suffix in [*((_SOURCE_NAMES[source], f"_{source}") for source in SOURCES), ("Total", "")]:
        files, records, kept = (counts[f"{name}{suffix}"] for name in ("files", "records", "documents"))
        rows.append((source, number(files), number(records), number(kept), percent(kept, records)))
    by_source = table(
        "corpus",
        "Records and documents by source",
        ("source", "files", "records", "kept", "share kept"),
        rows,
        totals=1,
    )
    size = paragraph(
        f"The kept documents hold {number(counts['words'])} words and {number(counts['characters'])}"
        " characters."
    )
    return section("corpus", "Corpus", by_source, size, _rejects(counts, rejects))


def _rejects(counts: dict[str, Any], rejects: dict[str, int]) -> Html:
    rejected, records = sum(rejects.values()), counts["records"]
    reasons = [
        (reason.replace("_", " "), count)
        for reason, count in sorted(rejects.items(), key=lambda item: -item[1])
    ]
    totals = [("all rejected", rejected), ("kept", counts["documents"]), ("records read", records)]
    rows = [(name, number(count), percent(count, records)) for name, count in [*reasons, *totals]]
    adds_up = "add up" if rejected + counts["documents"] == records else "do NOT add up"
    sentence = f"Rejected and kept records {adds_up} to the records read."
    return join(
        [
            table("rejects", "What became of the records", ("reason", "records", "share"), rows, totals=3),
            paragraph(sentence),
        ]
    )


def tokens(sources: Sources) -> Html:
    parts: list[object] = []
    if sources.vocabulary is None:
        parts.append(paragraph("Vocabulary: not built yet."))
    else:
        counts, made = sources.vocabulary.counts, sources.vocabulary.config
        kind = "lower-cased" if made.get("lowercase") else "cased"
        entries, continuations = number(counts["entries"]), number(counts["continuations"])
        parts.append(
            paragraph(
                f"WordPiece vocabulary, {kind}: {entries} entries, {continuations} of them continuations"
                " (##)."
            )
        )
    if sources.tokens is None:
        return section("tokens", "Vocabulary and tokens", *parts, paragraph("Token shards: not built yet."))
    held, samples = sources.tokens.counts, sources.samples.counts if sources.samples else {}
    rows = []
    for split in ("train", "validation"):
        counts = held[split]
        pairs = samples.get(split)
        shown = (
            (number(pairs["samples"]), percent(pairs["random_next"], pairs["samples"]))
            if pairs
            else ("not drawn yet", "–")
        )
        rows.append((split, *(number(counts[name]) for name in ("documents", "sentences", "tokens")), *shown))
    head = ("split", "documents", "sentences", "tokens", "samples", "random next")
    caption = f"Token shards ({held['shards']:,} in each split) and the samples of one epoch"
    parts += [table("tokens", caption, head, rows), held_by_source(sources)]
    return section("tokens", "Vocabulary and tokens", *parts)


def pretraining(sources: Sources) -> Html:
    if not sources.training:
        return section("pretraining", "Pre-training", paragraph("Not trained yet."))
    mark = _MARK if sources.synthetic else ""
    plots = element("div", join(figure(drawn, mark) for drawn in figures.curves(sources)), class_="plots")
    shown: list[object] = []
    dtype = sources.setting("training", "precision", "dtype")
    if dtype in ("bf16", "fp32"):
        shown.append(paragraph(f"Trained in {dtype}, which needs no loss scaling: the scale stays 1."))
    return section(
        "pretraining",
        "Pre-training",
        _progress(sources),
        *shown,
        plots,
        seen_by_source(sources),
        _validation_table(sources),
    )


def _progress(sources: Sources) -> Html:
    last = sources.training[-1]
    skipped = int(last.get("optim/skipped_steps", 0))
    steps, samples, seen = (
        number(last[name]) for name in ("global_step", "consumed_samples", "consumed_tokens")
    )
    text = f"{steps} optimizer steps on {samples} samples ({seen} tokens)"
    text += f"; {skipped:,} steps skipped for overflows." if skipped else "; no step was skipped."
    if not sources.finished:
        text += " The schedule's end is not reached: the run is under way, or stopped."
    return paragraph(text)


def _validation_table(sources: Sources) -> Html:
    if not sources.validation:
        return paragraph("Not validated yet.")
    records = sources.validation
    if len(records) > 12:  # the first, the last, and ten evenly between
        records = [records[round(place * (len(records) - 1) / 11)] for place in range(12)]
    rows = [
        (
            number(record["global_step"]),
            f"{record['validation/mlm_loss']:.4f}",
            f"{record['validation/perplexity']:.2f}",
            f"{100 * record['validation/mlm_accuracy']:.2f}",
            f"{record['validation/nsp_loss']:.4f}",
            f"{100 * record['validation/nsp_accuracy']:.2f}",
        )
        for record in records
    ]
    head = (
        "step",
        "MLM loss (nats)",
        "perplexity",
        "MLM accuracy (%)",
        "NSP loss (nats)",
        "NSP accuracy (%)",
    )
    chosen = (
        f", {len(records)} of {len(sources.validation):,} times"
        if len(records) < len(sources.validation)
        else ""
    )
    caption = f"On {records[-1]['validation/sequences']:,} held-out samples{chosen}"
    return details("Validation in numbers", table("validation", caption, head, rows))


def interruptions(sources: Sources) -> Html:
    title = "Stopped and resumed"
    if not sources.interruptions:
        return section("interruptions", title, paragraph("No interruption is recorded."))
    log_every_steps, global_batch_size = (
        sources.setting("training", name) for name in ("log_every_steps", "global_batch_size")
    )
    checked = [
        check_continuity(
            sources.training, entry, log_every_steps=log_every_steps or 1, global_batch_size=global_batch_size
        )
        for entry in sources.interruptions
    ]
    head = ("", *(f"after step {each.interruption.last_kept_step:,}" for each in checked))
    rows = [(name, *(value(each) for each in checked)) for name, value in _CONTINUITY_ROWS]
    resumed = [each for each in checked if each.first_step is not None and each.last_step is not None]
    plots = [figures.zoom(sources, each, place) for place, each in enumerate(resumed[:_MOST_ZOOMS], 1)]
    mark = _MARK if sources.synthetic else ""
    return section(
        "interruptions",
        title,
        *(element("p", each.verdict, class_="verdict bad" if each.faults else "verdict") for each in checked),
        table("interruptions", "Both sides of each interruption", head, rows),
        element("div", join(figure(drawn, mark) for drawn in plots), class_="plots"),
    )


def _or_dash(value: int | None) -> str:
    return "–" if value is None else number(value)


_CONTINUITY_ROWS: tuple[tuple[str, Callable[[Continuity], str]], ...] = (
    ("stopped by", lambda each: each.interruption.signal),
    ("exit code", lambda each: _or_dash(each.interruption.exit_code)),
    ("last step before", lambda each: _or_dash(each.last_step)),
    ("first step after", lambda each: _or_dash(each.first_step)),
    ("steps missing", lambda each: number(each.missing)),
    ("steps computed twice", lambda each: number(each.repeated)),
    (
        "count of samples",
        lambda each: {None: "not checked", True: "continuous", False: "not continuous"}[
            each.samples_consistent
        ],
    ),
)


def configuration(sources: Sources) -> Html:
    if not sources.config:
        return section(
            "configuration",
            "Configuration",
            paragraph("No resolved configuration yet: pre-training writes it."),
        )
    shown = details("The resolved configuration, as TOML", element("pre", toml_text(sources.config)))
    return section("configuration", "Configuration", shown)


def environment(sources: Sources) -> Html:
    environment = sources.environment
    if not environment:
        return section("environment", "Environment", paragraph("Not recorded."))
    units = {"memory_gib": ("memory", " GiB"), "gpu": ("GPU", "")}
    rows = []
    for key, value in environment.items():
        if not isinstance(value, (dict, list)):
            name, unit = units.get(key, (key, ""))
            rows.append(
                (
                    name,
                    (
                        "none"
                        if value is None
                        else f"{value:.1f}{unit}"
                        if isinstance(value, float)
                        else f"{value}{unit}"
                    ),
                )
            )
    parts: list[object] = [table("environment", "Machine", ("", "value"), rows, text=True)]
    if packages := environment.get("packages"):
        versions = table("packages", "Versions", ("package", "version"), sorted(packages.items()), text=True)
        parts.append(details(f"Packages ({len(packages)})", versions))
    if commands := environment.get("commands"):
        lines = "\n".join(
            command if isinstance(command, str) else json.dumps(command) for command in commands
        )
        parts.append(details(f"Commands ({len(commands)})", element("pre", lines, id="commands")))
    if seconds := environment.get("seconds"):
        total = sum(seconds.values())
        timed = [(stage, duration(spent), percent(spent, total)) for stage, spent in seconds.items()]
        timed.append(("total", duration(total), ""))
        parts.append(
            table("timings", "Wall-clock time by stage", ("stage", "time", "share"), timed, totals=1)
        )
    return section("environment", "Environment and time", *parts)
