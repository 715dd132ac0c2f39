"""Fine-tunes a model on a prepared task with three seeds, and tags with the first:
`python examples/finetune_on_own_data.py PREPARED TASK MODEL OUTPUT [EPOCHS]`.

PREPARED is what `biobert-scale evaluate prepare` wrote.
"""

import statistics
import sys
from pathlib import Path

from biobert_scale import Tagger, finetune
from biobert_scale.config import FinetuneConfig

prepared, task, model, output, *epochs = sys.argv[1:]
budget = FinetuneConfig(learning_rate=1e-4, epochs=int(epochs[0]) if epochs else 10)

runs = {
    seed: finetune(prepared, task, model, Path(output) / f"seed-{seed}", budget, seed=seed)
    for seed in (1, 2, 3)
}
scores = [run["score"] for run in runs.values()]
print(f"test: {statistics.mean(scores):.2f} (from {min(scores):.2f} to {max(scores):.2f})")

tagger = Tagger(Path(output) / "seed-1")
(entities,) = tagger(["Mice with leaf palsy slept."])
print([(entity.type, entity.text) for entity in entities])
