"""`python -m biobert_scale`: the command line where the script is not on the path."""

from __future__ import annotations

import sys

from biobert_scale.cli import main

if __name__ == "__main__":
    sys.exit(main())
