"""biobert_scale: from PubMed and PMC XML to a pre-trained, released and scored BioBERT.

`Tagger`, `finetune` and `pretrain` are for notebooks and scripts; everything else is a command's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from biobert_scale.api import Tagger, finetune, pretrain

__version__ = "0.1.0"
__all__ = ["Tagger", "__version__", "finetune", "pretrain"]


def __getattr__(name: str) -> Any:
    """Import what is asked for, and torch with it, only then: commands that need neither start at once."""
    if name in ("Tagger", "finetune", "pretrain"):
        from biobert_scale import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
