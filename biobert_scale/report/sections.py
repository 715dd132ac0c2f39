"""The page's parts about data, training, configuration and machine; each says in a line when its stage has
not run."""

from __future__ import annotations

import json
import math
from typing import Any

from biobert_scale.corpus.document import SOURCES
from biobert_scale.report import figures
from biobert_scale.report.by_source import held_by_source, seen_by_source
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
from biobert_scale.report.seam import LIMIT, WINDOW, Seam, measure_seam
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


def seams(sources: Sources) -> Html:
    title = "Stopped and resumed"
    if not sources.interruptions:
        return section("seam", title, paragraph("No interruption is recorded."))
    log_every_steps, global_batch_size = (
        sources.setting("training", name) for name in ("log_every_steps", "global_batch_size")
    )
    measured = [
        measure_seam(
            sources.training, entry, log_every_steps=log_every_steps or 1, global_batch_size=global_batch_size
        )
        for entry in sources.interruptions
    ]
    head = ("", *(f"after step {seam.interruption.last_kept_step:,}" for seam in measured))
    rows = [(name, *(value(seam) for seam in measured)) for name, value in _SEAM_ROWS]
    resumed = [seam for seam in measured if seam.first_step is not None and seam.last_step is not None]
    plots = [figures.zoom(sources, seam, place) for place, seam in enumerate(resumed[:_MOST_ZOOMS], 1)]
    mark = _MARK if sources.synthetic else ""
    explained = (
        f"The means are over up to {WINDOW} records on each side. The jump is their difference less the"
        " slope's share. The noise is the standard deviation of a single step's loss, from the differences"
        f" between neighbours; a jump below {LIMIT:g} of it is none."
    )
    verdicts = [
        element("p", seam.verdict, class_="verdict bad" if seam.faults else "verdict") for seam in measured
    ]
    return section(
        "seam",
        title,
        *verdicts,
        table("seam", "Both sides of each interruption", head, rows),
        paragraph(explained),
        element("div", join(figure(drawn, mark) for drawn in plots), class_="plots"),
    )


def _loss(value: float, form: str = ".4f") -> str:
    return format(value, form) if math.isfinite(value) else "–"


def _samples(seam: Seam) -> str:
    return {None: "not checked", True: "goes on exactly", False: "does not go on"}[seam.samples_consistent]


_SEAM_ROWS = (
    ("stopped by", lambda seam: seam.interruption.signal),
    (
        "exit code",
        lambda seam: "–" if seam.interruption.exit_code is None else str(seam.interruption.exit_code),
    ),
    ("last step before", lambda seam: "–" if seam.last_step is None else number(seam.last_step)),
    ("first step after", lambda seam: "–" if seam.first_step is None else number(seam.first_step)),
    ("steps missing", lambda seam: number(seam.missing)),
    ("steps computed twice", lambda seam: number(seam.repeated)),
    ("count of samples", _samples),
    ("mean MLM loss before (nats)", lambda seam: _loss(seam.loss_before)),
    ("mean MLM loss after (nats)", lambda seam: _loss(seam.loss_after)),
    ("records in the means", lambda seam: f"{seam.records[0]} and {seam.records[1]}"),
    ("difference", lambda seam: _loss(seam.loss_after - seam.loss_before, "+.4f")),
    ("of it the slope's share", lambda seam: _loss(seam.trend, "+.4f")),
    ("jump", lambda seam: _loss(seam.jump, "+.4f")),
    ("step-to-step noise (sd)", lambda seam: _loss(seam.noise)),
    ("jump in sd of the noise", lambda seam: _loss(seam.jump_in_noise, "+.2f")),
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
