#!/usr/bin/env bash
# The GPU suite from a plain copy of this repository: benchmarks/gpu/run.sh OUTPUT [--seconds 510] [--only PART ...] [--tiny]
# Wheels in benchmarks/gpu/wheels (see wheels.sh) are installed first, into a directory of their own.
set -euo pipefail
begun=$EPOCHSECONDS
mkdir -p "${1:?usage: benchmarks/gpu/run.sh OUTPUT [options of python -m benchmarks gpu]}"
output=$(cd "$1" && pwd)
shift
cd "$(dirname "$0")/../.."
PYTHON=${PYTHON:-python3}
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
if compgen -G 'benchmarks/gpu/wheels/*.whl' >/dev/null; then
    "$PYTHON" -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --target "$site" benchmarks/gpu/wheels/*.whl
    export PYTHONPATH="$site${PYTHONPATH:+:$PYTHONPATH}"
fi
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false DS_BUILD_OPS=0
export NUMBA_CACHE_DIR=${NUMBA_CACHE_DIR:-$site/numba} # the copy may be read-only
"$PYTHON" -m benchmarks gpu --output "$output" --begun "$begun" "$@" &
suite=$!
# A scheduler's SIGTERM reaches this shell alone. The suite ends its parts, and only then its packages go.
trap 'kill -TERM "$suite"; wait "$suite"; exit 143' TERM INT
wait "$suite"
