#!/bin/bash
# SPDX-License-Identifier: BSL-1.0
# bench/run.sh [--only NAME] [--rows PATTERN] [--quick] [--rounds N] [--realtime] [--check]
#              --json FILE
#
# Installs what is missing, builds the benchmarks optimized with the peers this system has packages
# for, and measures. `--help` names the options. A full run takes an hour: let nothing else
# run meanwhile. bench/plot.py makes tables and pictures of FILE.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
build=$root/build/bench-release

# The distribution's Python: the one to compare with, and the one it has matplotlib for.
python=/usr/bin/python3
[[ -x $python ]] || python=python3

for argument in "$@"; do
    if [[ $argument == -h || $argument == --help ]]; then
        exec "$python" "$root/bench/driver" --help
    fi
done

"$root/cmake/setup.sh" python3
# A peer that cannot be installed is left out, and the driver says so.
for peer in "libuv1-dev pkg-config" "cargo librust-tokio-dev librust-libc-dev" \
    "libzmq3-dev pkg-config" "libnng-dev" "libiceoryx-posh-dev libacl1-dev" \
    "parallel"; do
    # shellcheck disable=SC2086  # a list of packages
    "$root/cmake/setup.sh" $peer || echo "bench: without ${peer%% *}" >&2
done
"$root/cmake/build.sh" bench-release

left_out=$build/bench/left-out/tokio.txt
mkdir -p "${left_out%/*}"
if "$root/bench/contenders/tokio/build.sh" "$build/bench" 2>"$left_out"; then
    rm -f "$left_out"
fi

exec "$python" "$root/bench/driver" --build "$build" "$@"
