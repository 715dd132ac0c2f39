"""The page of the benchmarks that the package knows, from `evaluation/tasks/*.toml`."""

from __future__ import annotations

from collections.abc import Iterator

from biobert_scale.evaluation.tasks.spec import SPLITS, Source, Task, known_tasks
from docs_site.text import table

HEAD = """# Tasks

The benchmarks that come with the package, made from `biobert_scale/evaluation/tasks/*.toml`. A task of your
own is [such a file](../how-to/own-data.md); protocols and scores are explained in
[Evaluation](../how-to/evaluation.md).
"""


def page() -> str:
    lines = [HEAD]
    rows = [
        (f"[{task.name}](#{task.name.lower()})", task.kind, f"`{task.metric}`")
        for task in known_tasks().values()
    ]
    lines += table(("task", "kind", "metric"), rows)
    for task in known_tasks().values():
        lines += _described(task)
    return "\n".join([*lines, ""])


def _described(task: Task) -> Iterator[str]:
    yield f"\n## {task.name}\n"
    rows = [("kind, metric", f"{task.kind}, `{task.metric}`")]
    if task.types:
        rows.append(
            ("types", "; ".join(f"{name} ({', '.join(of) or name})" for name, of in task.types.items()))
        )
    if task.labels:
        rows.append(("labels", ", ".join(f"`{label}`" for label in task.labels)))
    if task.negative:
        rows.append(("counts as no prediction", f"`{task.negative}`"))
    rows += [
        ("protocols, the default first", ", ".join(task.protocols)),
        ("runs of a published mean", str(task.seeds)),
    ]
    rows += [("word pieces in one input", str(task.max_length))] if task.max_length else []
    rows += [("licence", task.licence)] if task.licence else []
    yield from table(("what", "value"), rows)
    yield "\nFiles, of which the first form that is found is read:\n"
    yield from table(("format", *SPLITS, "published counts"), map(_source, task.sources))
    if task.scores:
        yield "\nPublished scores on test, in percent:\n"
        yield from table(
            ("model", "score", "source"),
            [
                (one.model, f"{one.score:g}", "; ".join(filter(None, (one.source, one.protocol))))
                for one in task.scores
            ],
        )


def _source(source: Source) -> tuple[str, ...]:
    named = [", ".join(f"`{name}`" for name in getattr(source, split)) for split in SPLITS]
    if source.divide:
        shares = ", ".join(f"{split} {share:g}" for split, share in source.divide.items())
        named = [name or f"drawn ({shares})" for name in named]
    counts = source.counts
    text = (
        f"{', '.join(f'{number:,}' for number in counts.documents)} {counts.unit};"
        f" {', '.join(f'{number:,}' for number in counts.others)} {counts.what}"
        if counts
        else ""
    )
    return f"`{source.format}`", *named, text
