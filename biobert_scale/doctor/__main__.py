"""What a launcher starts on every rank: `torchrun ... -m biobert_scale.doctor`."""

from __future__ import annotations

import sys

from biobert_scale.cli import main

if __name__ == "__main__":
    sys.exit(main(["doctor", *sys.argv[1:]]))
