"""A tagger that was trained on one corpus and is scored on another: which type is which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from biobert_scale.errors import UserError
from biobert_scale.evaluation.prepared import is_typed
from biobert_scale.evaluation.protocols import Protocol
from biobert_scale.evaluation.pubtator import AnnotatedDocument
from biobert_scale.evaluation.readers import TaggedSentence
from biobert_scale.evaluation.tasks.spec import Task


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """What becomes of a tagger's predictions on the texts of another task."""

    source: Task
    """The one that it was trained on."""
    types: Mapping[str, str]
    """Each of its types -> the other task's, or "" where its predictions are left out."""
    typed: bool
    """The other task's tags name types."""

    @property
    def scored_types(self) -> list[str]:
        """The other task's types that predictions can have."""
        return sorted(set(self.types.values()) - {""})

    @property
    def protocol(self) -> Protocol:
        """One of its own: comparable with no score of a tagger that was trained on the task itself."""
        pairs = ", ".join(f"{name}={other}" for name, other in self.types.items())
        rule = "settings and epoch chosen on the training corpus; the other one predicted as it is"
        return Protocol(name=f"trained on {self.source.name} ({pairs})", selection=rule)

    def tags(self, found: Sequence[str]) -> list[str]:
        """A sentence's predicted tags in the other task's terms. Where two types become one, an I that
        continued nothing still begins an entity."""
        own, before, tags = next(iter(self.source.types)), "", []
        for tag in found:
            letter, _, kind = tag.partition("-")
            kind = "" if letter == "O" else kind or own
            other = self.types[kind] if kind else ""
            if letter == "I" and before not in ("", kind):
                letter = "B"
            tags.append("O" if not other else f"{letter}-{other}" if self.typed else letter)
            before = kind
        return tags


def plan_transfer(source: Task, task: Task, given: Iterable[str]) -> Transfer:
    """Say which of the other task's types each of the tagger's stands for.

    Args:
        given: `MODEL_TYPE=TASK_TYPE`, or `MODEL_TYPE=` for predictions to leave out; a type that is not named
            stands for the one of its own name, capitals ignored.

    Raises:
        UserError: a task that has no entities, a type that does not exist or has no counterpart, or nothing
            left to score.
    """
    if not source.types or not task.types:
        what = f"{(source if not source.types else task).name} has no entities"
        raise UserError(what, where="--task", remedy="choose a task of the kind `entities`")
    known = {name.casefold() for name in task.known_types}
    types = {name: task.type_of(name) for name in source.types if name.casefold() in known}
    own = {name.casefold(): name for name in source.types}
    for pair in given:
        name, sign, other = (part.strip() for part in pair.partition("="))
        if not sign or name.casefold() not in own or (other and other.casefold() not in known):
            remedy = f"types of the model: {', '.join(source.types)}; of {task.name}: {', '.join(task.types)}"
            raise UserError(f"'{pair}' is no MODEL_TYPE=TASK_TYPE", where="--types", remedy=remedy)
        types[own[name.casefold()]] = task.type_of(other) if other else ""
    if missing := [name for name in source.types if name not in types]:
        choices = f"{missing[0]}=TYPE with one of {', '.join(task.types)}, or {missing[0]}= to leave it out"
        what = f"{task.name} has no type {', '.join(missing)}"
        raise UserError(what, where="--types", remedy=f"add {choices}")
    if not any(types.values()):
        raise UserError("no type is left to score", where="--types", remedy="keep one at least")
    return Transfer(source=source, types=types, typed=is_typed(task))


def keep_types(
    sentences: Sequence[TaggedSentence], documents: Sequence[AnnotatedDocument], kinds: Collection[str]
) -> tuple[list[TaggedSentence], list[AnnotatedDocument], dict[str, int]]:
    """Gold with mentions of some types alone, and how many of each other type there are."""
    others = Counter(m.kind for each in documents for m in each.mentions if m.kind not in kinds)
    kept = [replace(each, mentions=tuple(m for m in each.mentions if m.kind in kinds)) for each in documents]
    tagged = [
        replace(each, tags=[tag if tag.partition("-")[2] in kinds else "O" for tag in each.tags])
        for each in sentences
    ]
    return tagged, kept, dict(sorted(others.items()))
