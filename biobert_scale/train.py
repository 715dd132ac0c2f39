"""What `accelerate launch -m`, `deepspeed --module`, torchrun and srun start: one rank of a pre-training
run."""

from __future__ import annotations

import sys

from biobert_scale.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
