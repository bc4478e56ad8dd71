#!/bin/bash
# SPDX-License-Identifier: BSL-1.0
# build.sh DIRECTORY: builds the tokio contender as DIRECTORY/bench_tokio from Debian's packaged
# crates, without a network. The sources are copied first: cargo writes a lock file beside them.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
directory=$1
registry=/usr/share/cargo/registry
work=$directory/tokio

[[ -d $registry ]] || {
    echo "no packaged crates in $registry (librust-tokio-dev)" >&2
    exit 1
}
mkdir -p "$work/src" "$work/.cargo"
cp --preserve=timestamps "$here/Cargo.toml" "$work/"
cp --preserve=timestamps "$here/src/main.rs" "$work/src/"
cat >"$work/.cargo/config.toml" <<EOF
[source.crates-io]
replace-with = "packaged"
[source.packaged]
directory = "$registry"
[net]
offline = true
EOF

# The distribution's own cargo and rustc before any other: its crates are made for them.
PATH=/usr/bin:$PATH
cd "$work"
[[ -e Cargo.lock ]] || cargo generate-lockfile --quiet
BENCH_TOKIO_VERSION=$(sed -n '/^name = "tokio"$/{n;s/^version = "\(.*\)"$/\1/p}' Cargo.lock)
export BENCH_TOKIO_VERSION
cargo build --release --quiet
cp target/release/bench_tokio "$directory/bench_tokio"
