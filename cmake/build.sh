#!/bin/bash
# SPDX-License-Identifier: BSL-1.0
# build.sh PRESET [TARGET…]: configures the preset if it is not, and builds it with as many jobs as
# the machine has processors and memory for. Talks to stderr only: stdout belongs to what is run
# afterwards.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
preset=$1
shift
directory=$root/build/$preset
log=$directory/build.log

# A translation unit of Asio under a sanitizer takes about 1 GiB.
jobs=$(nproc)
memory_jobs=$(awk '/^MemAvailable:/ { print int($2 / 1048576) }' /proc/meminfo)
if ((memory_jobs < jobs)); then jobs=$((memory_jobs > 0 ? memory_jobs : 1)); fi

# On a terminal the tools show their progress; otherwise only a failure is worth reading.
quietly() {
    if [[ -t 2 ]]; then
        "$@" >&2
    elif ! "$@" >"$log" 2>&1; then
        grep -vE '^\[[0-9]+/[0-9]+\] ' "$log" | tail -n 100 >&2
        return 1
    fi
}

cd "$root"
mkdir -p "$directory"
# Ninja runs CMake again for the files CMake has read; a new preset or a new folder is none of them.
stamp=$directory/configured
if [[ ! -e $stamp || ! -e $directory/build.ninja ||
    -n $(find . -path ./build -prune -o -newer "$stamp" \( -name CMakeLists.txt -o \
        -name '*.cmake' -o -name CMakePresets.json \) -print -quit) ]]; then
    quietly cmake --preset "$preset"
    touch "$stamp"
fi
# Bash counts the seconds.
SECONDS=0
echo "build: preset $preset, $jobs jobs${1:+, $*}" >&2
targets=()
if (($# > 0)); then targets=(--target "$@"); fi
quietly cmake --build --preset "$preset" --parallel "$jobs" "${targets[@]}"
echo "build: done in $SECONDS s" >&2
