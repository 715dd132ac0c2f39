"""The doctor on a rank with something wrong: `ailing_doctor.py TROUBLES OPTIONS...`; all troubles are rank
1's.

Troubles, separated by commas: `clock` (two minutes ahead), `files` (few may be open), `tokens=DIRECTORY`
(other ones), and `mount=DIRECTORY` (another, empty file system lies there; needs root).
"""

from __future__ import annotations

import ctypes
import os
import resource
import subprocess
import sys
import time

CLONE_NEWNS = 0x00020000


def fall_ill(troubles: list[str], options: list[str]) -> None:
    for trouble in troubles:
        name, _, value = trouble.partition("=")
        if name == "clock":
            time.time = lambda now=time.time: now() + 120  # type: ignore[misc]
        elif name == "files":
            resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
        elif name == "tokens":
            options[options.index("--tokens") + 1] = value
        elif name == "mount":
            libc = ctypes.CDLL(None, use_errno=True)
            assert libc.unshare(CLONE_NEWNS) == 0, os.strerror(ctypes.get_errno())
            subprocess.run(["mount", "--make-rprivate", "/"], check=True)
            subprocess.run(["mount", "-t", "tmpfs", "none", value], check=True)
        else:
            raise AssertionError(trouble)


if __name__ == "__main__":
    chosen, arguments = sys.argv[1].split(","), sys.argv[2:]
    if os.environ["RANK"] == "1":
        fall_ill(chosen, arguments)
    from biobert_scale.cli import main

    sys.exit(main(["doctor", *arguments]))
