# The site's own lines come before `set -u`: modules and conda use variables that are not set.
set -eo pipefail
@setup@
set -u
@environment@
cd @work@
biobert=(@python@ -m biobert_scale.cli)

# What the job ran with, beside the script that ran; nothing here may stop the job.
record=@records@/$SLURM_JOB_NAME-${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}.${SLURM_RESTART_COUNT:-0}
mkdir -p "$record"
cp "$0" "$record/job.sbatch" || true
{
    date --utc +%FT%TZ
    uname -a
    ulimit -a
    env | grep '^SLURM_' | sort
    "${biobert[@]}" --version
    @python@ -c 'import sys, biobert_scale; print(sys.version, biobert_scale.__file__)'
    git -C "$(@python@ -c 'import os, biobert_scale; print(os.path.dirname(biobert_scale.__file__))')" describe --always --dirty
    nvidia-smi
} > "$record/environment.txt" 2>&1 || true
@python@ -m pip freeze > "$record/packages.txt" 2> /dev/null \
    || @python@ -c 'from importlib.metadata import distributions as all; print(*sorted(f"{d.name}=={d.version}" for d in all()), sep="\n")' > "$record/packages.txt" || true
echo "$SLURM_JOB_NAME: job $SLURM_JOB_ID, start ${SLURM_RESTART_COUNT:-0}, on $SLURM_JOB_NODELIST; recorded in $record"
