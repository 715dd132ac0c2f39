#!/bin/bash
# Submits the jobs beside this file, each after the good end of those before it. Where one fails, those behind it leave the queue.
set -euo pipefail
cd "$(dirname "$0")"
submitted=()
trap '[ ${#submitted[@]} = 0 ] || scancel "${submitted[@]}"' ERR
dependency=()
for stage in @stages@; do
    job=$(sbatch --parsable "${dependency[@]}" "$stage.sbatch")
    job=${job%%;*} # a federation adds the cluster's name
    echo "$stage $job"
    submitted+=("$job")
    # It takes the place of the script's own line: both conditions are named.
    dependency=("--dependency=afterok:$job,singleton" --kill-on-invalid-dep=yes)
done
