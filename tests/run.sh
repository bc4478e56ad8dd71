#!/bin/bash
# SPDX-License-Identifier: BSL-1.0
# tests/run.sh [CTEST OPTION…]: installs what is missing, builds everything with AddressSanitizer
# and UBSan, and runs all tests. From any directory, as root or with a sudo that does not ask; a
# second run installs and builds nothing that is there. PROCYARD_PRESET in the environment is another
# preset than dev.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
# strace: a test counts the system calls of a spawn. spin, relacy-dev: the ring's models.
# wrk: the load on a server that shuts down.
"$root/cmake/setup.sh" strace spin relacy-dev wrk
preset=${PROCYARD_PRESET:-dev}
"$root/cmake/build.sh" "$preset"
cd "$root"
exec ctest --preset "$preset" --parallel "$(nproc)" "$@"
