"""Are the token shards whole, and the same for all ranks?"""

from __future__ import annotations

from pathlib import Path

from biobert_scale.doctor.findings import Finding
from biobert_scale.doctor.ranks import Ranks
from biobert_scale.errors import UserError
from biobert_scale.files import MANIFEST, read_manifest, sha256_file
from biobert_scale.tokens.build import STAGE
from biobert_scale.tokens.shards import SPLITS, TokenStore

_BYTES_A_RANK = 1 << 28


def check_tokens(ranks: Ranks, directory: Path, *, bytes_a_rank: int = _BYTES_A_RANK) -> list[Finding]:
    """The manifest's fingerprint, every shard's form, and the checksums of as many files as seconds allow;
    ranks share them out.

    Raises:
        UserError: no finished token shards, or a damaged file.
    """
    manifest = read_manifest(directory, STAGE)
    for split in SPLITS:
        TokenStore.open(directory / split)
    read, budget = 0, bytes_a_rank
    remedy = "restore it, or build the tokens again with --overwrite"
    names = sorted(manifest.outputs)
    for name in names[ranks.rank :: ranks.world_size]:
        path = directory / name
        if not path.is_file():
            raise UserError("a file of the token shards is missing", where=path, remedy=remedy)
        if path.stat().st_size > budget:
            continue
        budget -= path.stat().st_size
        read += 1
        if sha256_file(path) != manifest.outputs[name]:
            what = "damaged or changed: its SHA-256 is not the manifest's"
            raise UserError(what, where=path, remedy=remedy)
    fingerprint = sha256_file(directory / MANIFEST)
    counts = manifest.counts["train"]
    text = (
        f"{fingerprint[:16]}: {counts['tokens']:,} tokens of {counts['documents']:,} documents,"
        f" {manifest.counts['vocabulary']:,} entries"
    )
    figures = {"fingerprint": fingerprint, "files": len(names), "files_compared": read}
    return [Finding("tokens", "OK", text, figures=figures, same=fingerprint)]
