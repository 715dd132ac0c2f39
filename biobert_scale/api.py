"""What a notebook or a script needs: `from biobert_scale import Tagger, finetune, pretrain`.

Each may be called any number of times in one process. Mistakes in the input raise `errors.UserError`, whose
text is one line: what, where, and the remedy.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from biobert_scale.config import FinetuneConfig
from biobert_scale.errors import UserError
from biobert_scale.evaluation.finetune import finetune as run_finetuning
from biobert_scale.evaluation.records import FinetunedMetrics
from biobert_scale.recipes import change_settings, load_config
from biobert_scale.tag.document import TextDocument
from biobert_scale.tag.tagger import Entity, EntityTagger, choose_device, merge_entities
from biobert_scale.training.run import train

__all__ = ["Entity", "Tagger", "finetune", "pretrain"]


class Tagger:
    """Fine-tuned models that mark entities in text.

    Args:
        models: directories that `biobert-scale export` wrote, fine-tuning runs, or any directory of a
            `BertForTokenClassification` with labels O, B-X and I-X. Each marks its own types.
        device: `cpu`, `cuda`, `cuda:1`, ...; `auto` takes a GPU where there is one.

    Raises:
        UserError: no such model, or one that tags no entities.
    """

    def __init__(self, *models: str | Path, device: str = "auto") -> None:
        if not models:
            raise UserError("no model", where="Tagger()", remedy="give the directory of at least one")
        chosen = choose_device(device)
        self._taggers = [EntityTagger(Path(model), chosen) for model in models]

    @property
    def types(self) -> list[str]:
        """The types of entities that may be found."""
        return sorted({kind for tagger in self._taggers for kind in tagger.types})

    def __call__(self, texts: Iterable[str]) -> list[list[Entity]]:
        """The entities of each text, in its order; `text[entity.start:entity.end]` is `entity.text`."""
        if isinstance(texts, str):
            raise UserError("one text where a list is expected", where="Tagger", remedy="give [text]")
        documents = [TextDocument(id=str(number), title=text) for number, text in enumerate(texts, start=1)]
        return merge_entities([tagger.tag(documents) for tagger in self._taggers])


def finetune(
    prepared: str | Path,
    task: str,
    model: str | Path,
    output: str | Path,
    budget: FinetuneConfig = FinetuneConfig(),
    *,
    seed: int = 1,
) -> FinetunedMetrics:
    """Fine-tune a model on a task and score it on the test split; finished work is read back.

    Args:
        prepared: a directory that `biobert-scale evaluate prepare` wrote.
        task: one of its tasks: a benchmark, or one of your own.
        model: a Hugging Face BERT directory with its tokenizer.
        output: for the scores, the predictions and the model, which `Tagger` reads.
        budget: learning rate, epochs and the like.
        seed: of the new layer, the order and dropout.

    Returns:
        What `metrics.json` holds; `score` is in percent.

    Raises:
        UserError: an unknown task, or a model that does not serve.
        RunFailed: the loss is not finite.
    """
    return run_finetuning(Path(prepared), task, Path(model), Path(output), budget, seed=seed)


def pretrain(recipe: str | Path, tokens: str | Path, output: str | Path, changes: Iterable[str] = ()) -> bool:
    """Pre-train in this process, as one rank, to the end of the recipe's schedule; a run that was interrupted
    resumes. For several ranks use a launcher: `accelerate launch -m biobert_scale.train`.

    Args:
        recipe: a recipe's name (`biobert-large`), a TOML file, or a run's `config.json`.
        tokens: token shards that `biobert-scale tokens build` wrote.
        output: the run directory: checkpoints, `metrics.jsonl`, TensorBoard events.
        changes: settings of the recipe that are to differ, such as `training.micro-batch-size=4`.

    Returns:
        Whether the schedule's end was reached.

    Raises:
        UserError: a setting that there is not, or another process trains in `output`.
        RunFailed: a guard stopped the run; the last checkpoint is kept.
    """
    config = change_settings(load_config(recipe), changes, where="pretrain")
    return train(config, Path(tokens), Path(output))
