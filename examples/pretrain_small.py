"""Pre-trains a small model on token shards in this process:
`python examples/pretrain_small.py RECIPE TOKENS OUTPUT [SETTING=VALUE ...]`.

RECIPE is a name such as `demo`, or a TOML file; TOKENS is what `biobert-scale tokens build` wrote. Started
again, it resumes.
"""

import json
import sys
from pathlib import Path

from biobert_scale import pretrain

recipe, tokens, output, *changes = sys.argv[1:]
finished = pretrain(recipe, tokens, output, changes)
records = [json.loads(line) for line in (Path(output) / "metrics.jsonl").read_text().splitlines()]
losses = [record["train/loss"] for record in records if "train/loss" in record]
end = "finished" if finished else "stopped"
print(f"{end}: loss {losses[0]:.2f} in the first step, {losses[-1]:.2f} in the last")
