#!/usr/bin/env bash
# Fetches what a machine with torch, transformers and accelerate but no network lacks, into benchmarks/gpu/wheels: benchmarks/gpu/wheels.sh [3.12]
# Where the machine has some of them, leave those out: benchmarks/gpu/wheels.sh 3.12 cattrs isal ...
set -euo pipefail
cd "$(dirname "$0")"
version=${1:-3.12}
packages=("${@:2}")
if [ ${#packages[@]} = 0 ]; then
    packages=(annotated-types attrs cattrs datasets dill docstring_parser hjson isal multiprocess pydantic pydantic_core sentencex tyro typeguard typing_extensions typing-inspection)
fi
mkdir -p wheels
platforms=()
for tag in manylinux_2_34 manylinux_2_28 manylinux_2_27 manylinux_2_24 manylinux_2_17 manylinux2014 manylinux1; do platforms+=(--platform "${tag}_x86_64"); done
constraints=../../constraints.txt
for package in "${packages[@]}"; do
    pinned=$(grep -i "^$package==" "$constraints" || echo "$package")
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --python-version "$version" --implementation cp "${platforms[@]}" -d wheels "$pinned"
done
# deepspeed comes as source; without its compiled operations it is pure Python.
DS_BUILD_OPS=0 python3 -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation -w wheels "$(grep '^deepspeed==' "$constraints")"
du -sh wheels
