"""Where `mortal_worker` can be told to die."""

IN_STEPS = ("before the step", "between two micro-batches", "after the backward pass")
IN_SAVES = (
    "before the copy",
    "half a file",
    "file without its note",
    "before the manifest",
    "before the name",
    "before pruning",
    "half pruned",
)
OF_THE_MAIN_PROCESS = ("before the manifest", "before the name", "before pruning", "half pruned")
