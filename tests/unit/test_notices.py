from __future__ import annotations

import subprocess
import sys

NOISY = """
import logging, warnings
from biobert_scale.notices import switch_off
logging.basicConfig(level=logging.INFO)
switch_off()
import deepspeed
from deepspeed.accelerator import get_accelerator
get_accelerator()
from accelerate.state import warnings as accelerate_warnings
accelerate_warnings.warn("OMP_NUM_THREADS/MKL_NUM_THREADS unset, we set it at 2 to improve oob performance.")
warnings.warn("`torch.distributed.all_gather_into_tensor` is deprecated. Please use another.", FutureWarning)
logging.getLogger("accelerate").info("a detail")
"""


def test_libraries_notices_are_in_no_output() -> None:
    done = subprocess.run([sys.executable, "-c", NOISY], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_their_warnings_are() -> None:
    code = NOISY.partition("import deepspeed")[0] + "logging.getLogger('accelerate').warning('so it is')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "WARNING:accelerate:so it is\n"
