"""What the fork server imports once, so that a process forked from it begins at once (see `launching.py`)."""

import gc

import accelerate
import deepspeed.runtime.zero.muon.muon_optimizer  # and with it torch's compiler
import transformers.models.bert.modeling_bert

import biobert_scale.commands.checkpoint_files
import biobert_scale.commands.training
import biobert_scale.release.export
import biobert_scale.training.run
import tests.factories

# Not lasting beyond a fork: torch's pool of threads. Nothing here computes.
__all__ = ["accelerate", "biobert_scale", "deepspeed", "tests", "transformers"]

# A process that is forked from here looks for garbage among its own objects alone, and copies no page for it.
gc.collect()
gc.freeze()
