#!/bin/bash
# SPDX-License-Identifier: BSL-1.0
# examples/demo.sh [DEMO ARGUMENT…]: installs what is missing, builds the demo optimized, and becomes
# the demo. Everything before the demo talks to stderr, so the output can be piped on.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
"$root/cmake/setup.sh"
"$root/cmake/build.sh" release procyard_demo
exec "$root/build/release/examples/demo/demo" "$@"
