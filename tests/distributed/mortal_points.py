"""Where `mortal_worker` and `restless_worker` can be made to die."""

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
OF_THE_MAIN_PROCESS = (
    "before the manifest",
    "before the name",
    "before pruning",
    "half pruned",
    "before the lock",
    "behind the lock",
    "half the records",
)
IN_STARTS = ("before the lock", "behind the lock", "while loading", "half the records")
IN_LAST_SAVES = (
    "its writer",
    "its writer, before the name",
    "its rank, not its writer",
    "both, before the part is written",
)
"""In the save of a run that was asked to stop, which a process writes that outlives its rank."""
