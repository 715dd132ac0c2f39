"""The options of `corpus ...`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from tyro.conf import Positional

from biobert_scale.commands.common import cluster, report_stage
from biobert_scale.commands.own_text import name_of
from biobert_scale.config import CorpusConfig, SlurmConfig
from biobert_scale.corpus.sources.facts import BASE_URL, CONNECTIONS, GROUP
from biobert_scale.corpus.sources.selection import Selection
from biobert_scale.display import show, written
from biobert_scale.errors import UserError
from biobert_scale.ranges import within

if TYPE_CHECKING:
    from biobert_scale.corpus.listing import MirrorConfig


@within(seed="[0, 9e18]", abstracts="[1, 1e8]", full_texts="[0, 1e8]")
def corpus_synthesize(
    *, output: Path, seed: int = 1, abstracts: int = 3000, full_texts: int = 150, overwrite: bool = False
) -> None:
    """Write a made-up literature and benchmark sets in the publishers' real formats.

    Args:
        output: directory to write.
        seed: same seed, same bytes.
        abstracts: MEDLINE records.
        full_texts: PMC articles.
        overwrite: replace what another configuration wrote there.
    """
    from biobert_scale.corpus.synthetic import write_synthetic

    write_synthetic(output, seed=seed, abstracts=abstracts, full_texts=full_texts, overwrite=overwrite)
    show(written(output))


@within(limit="[1, 1e9]", connections="[1, 1000]", retries="[0, 1e6]", timeout_seconds="(0, 1e6]")
def corpus_download(
    *,
    output: Path,
    groups: tuple[str, ...] = ("baseline", "updatefiles"),
    include: tyro.conf.UseAppendAction[tuple[str, ...]] = (),
    exclude: tyro.conf.UseAppendAction[tuple[str, ...]] = (),
    selection: Annotated[Selection, tyro.conf.arg(name="")] = Selection(),
    limit: int | None = None,
    connections: int | None = None,
    retries: int = 8,
    timeout_seconds: float = 60.0,
    base_url: str | None = None,
    paths: dict[str, str] = {},  # noqa: B006  (never written to)
    verify: bool = True,
    dry_run: bool = False,
) -> int:
    """Mirror PubMed's bulk files, PMC's articles, or Europe PMC's bulk files.

    Run again, it resumes unfinished files and fetches new and changed ones only.

    Args:
        output: directory of the mirror; each group gets a directory in it, and `corpus build --raw` takes the
            whole.
        groups: any of baseline, updatefiles (PubMed), pmc-cloud (PMC's full texts, article by article),
            europe-pmc (Europe PMC's files of them), and comm, noncomm, other (PMC's packages until August
            2026: a copy of them is mirrored with --base-url and --paths). Each article's licence is to be
            weighed before training on it.
        include: only files whose name, or group/name, matches this shell pattern; may be repeated.
        exclude: no files whose name, or group/name, matches this shell pattern; may be repeated.
        selection: which articles of pmc-cloud.
        limit: only the first so many files of each group; of pmc-cloud no new articles once so many are held.
        connections: files in transfer at once (default: 4), or articles of pmc-cloud (default: 256).
        retries: further attempts after a failed one; the count begins anew whenever a file got further than
            before.
        timeout_seconds: patience with a server that does not answer.
        base_url: a copy of the server, or of the bucket, instead of the groups' own.
        paths: where a group's directory lies below the base URL, as `GROUP PATH` pairs, if not where NCBI or
            Europe PMC has it.
        verify: check the files that are already there by their MD5 or gzip trailer; --no-verify trusts size
            and time.
        dry_run: print what there is to fetch, and write nothing.
    """
    from biobert_scale.corpus.listing import BASE_URLS, MirrorConfig, check_address
    from biobert_scale.corpus.sources.estimate import estimate
    from biobert_scale.corpus.sources.pmc_cloud import CloudConfig, download

    bulk = tuple(group for group in groups if group != GROUP)
    if base_url is not None:
        check_address(base_url)
    servers = {BASE_URLS.get(group, BASE_URL) for group in groups}
    if base_url is not None and len(servers) > 1:
        raise UserError(
            "--base-url for groups of several servers",
            where=", ".join(groups),
            remedy="download them one after the other",
        )
    if GROUP not in groups and selection != Selection():
        raise UserError(
            f"options for articles without --groups {GROUP}", where="command line", remedy="leave them out"
        )
    if not bulk and (include or exclude or paths):
        raise UserError(
            f"--include, --exclude and --paths name files, and {GROUP} has articles",
            where="command line",
            remedy="leave them out, and choose by --licenses and --limit",
        )
    code = 0
    if bulk:
        mirror = MirrorConfig(
            groups=bulk,
            include=include,
            exclude=exclude,
            limit=limit,
            connections=connections or 4,
            retries=retries,
            timeout_seconds=timeout_seconds,
            base_url=base_url or "",
            paths=paths,
            verify=verify,
        )
        code = _download_files(output, mirror, dry_run)
    if GROUP in groups:
        cloud = CloudConfig(
            base_url=base_url or BASE_URL,
            connections=connections or CONNECTIONS,
            retries=retries,
            timeout_seconds=timeout_seconds,
            selection=selection,
            limit=limit,
            verify=verify,
        )
        if dry_run:
            show(estimate(output, cloud))
        else:
            download(output, cloud)
    return code


def _download_files(output: Path, config: MirrorConfig, dry_run: bool) -> int:
    from biobert_scale.corpus.mirror import download, plan_download

    if not dry_run:
        download(output, config)
        return 0
    plan = plan_download(output, config)
    show(plan.table(), *(f"failed: {failure}" for failure in plan.failures))
    return int(bool(plan.failures))


@within(max_bad_files="[0, 1e9]", workers="[1, 10000]")
def corpus_build(
    *,
    raw: Path | None = None,
    own: tyro.conf.UseAppendAction[tuple[str, ...]] = (),
    output: Path,
    config: str | None = None,
    corpus: Annotated[CorpusConfig, tyro.conf.arg(name="")] = CorpusConfig(),
    decontaminate: Path | None = None,
    max_bad_files: int = 0,
    executor: Literal["local", "slurm"] = "local",
    workers: int = 1,
    slurm: Annotated[SlurmConfig, tyro.conf.arg(name="")] = SlurmConfig(),
    overwrite: bool = False,
) -> None:
    """Make clean documents of raw MEDLINE and JATS files, and of own text.

    Reads, cleans, selects the last state of each citation, removes duplicates, and writes Parquet shards.

    Args:
        raw: directory with MEDLINE `*.xml.gz` files and PMC `*.tar.gz` packages, at any depth (required
            without --own).
        own: own text, as NAME=PATH: a name for the source, and a file (.jsonl, .jsonl.gz, .jsonl.zst,
            .parquet, .txt), a directory of such, or one that `datasets` saved; may be repeated. How one is
            read is set by --own.NAME.text-column and the like (add --help after --own), or in a recipe.
        output: directory to write.
        config: recipe whose section `corpus` has the settings that are not given here.
        corpus: how documents are made.
        decontaminate: benchmarks that `evaluate prepare` wrote, whose test documents are left out and listed.
        max_bad_files: damaged files to put up with; each is reported and left out.
        executor: this machine's processes, or array jobs of a SLURM cluster; the output does not depend on
            it.
        workers: local: processes at once.
        slurm: the array jobs.
        overwrite: replace what other inputs or settings wrote there.
    """
    from biobert_scale.corpus.build import build_corpus
    from biobert_scale.corpus.not_read import summary

    if raw is None and not own:
        remedy = "give the directory of raw files with --raw, or own text with --own NAME=PATH"
        raise UserError("nothing to read", where="command line", remedy=remedy)
    if without := set(corpus.own).difference(map(name_of, own)):
        name = min(without)
        remedy = f"add --own {name}=PATH"
        raise UserError(f"no path of the source {name!r}", where=config or "command line", remedy=remedy)
    manifest = build_corpus(
        raw,
        output,
        corpus,
        own=[(name_of(given), Path(given.partition("=")[2])) for given in own],
        benchmarks=decontaminate,
        workers=workers,
        slurm=cluster(executor, slurm),
        max_bad_files=max_bad_files,
        overwrite=overwrite,
    )
    counts = {**manifest.counts}
    not_read = counts.pop("not_read")
    rejects = counts.pop("rejects_by_source", {})
    counts.pop("licenses_by_source", None)
    by_source = _by_source(counts)
    for source, reasons in rejects.items():
        by_source[source] |= {f"left_out_{reason}": number for reason, number in reasons.items()}
    report_stage(replace(manifest, counts=by_source), output)
    if not_read:
        show(summary(not_read))


@within(samples="[0, 1e6]", seed="[0, 9e18]")
def corpus_inspect(
    corpus: Positional[Path],
    /,
    *,
    output: Path | None = None,
    samples: int = 5,
    seed: int = 1,
    show_private: bool = False,
) -> None:
    """Show a corpus: counts, rejects by reason, lengths and a few documents, also as pictures.

    Args:
        corpus: a finished corpus.
        output: directory to write pictures of it to: lengths.png and rejects.png.
        samples: documents to show.
        seed: which ones.
        show_private: also show documents of private sources.
    """
    from biobert_scale.corpus.corpus_statistics import draw, render, summarise

    summary = summarise(corpus, samples=samples, seed=seed, show_private=show_private)
    show(render(summary))
    if output is not None:
        show(*map(str, draw(summary, output)))


def _by_source(counts: dict[str, int]) -> dict[str, Any]:
    """A stage's counts, with `records_medline` and its like in a group for each source."""
    grouped: dict[str, Any] = {name: number for name, number in counts.items() if "_" not in name}
    for name, number in counts.items():
        what, _, source = name.partition("_")
        if source and what in grouped:
            grouped.setdefault(source, {})[what] = number
        else:
            grouped[name] = number
    return grouped
