#!/bin/bash
# SPDX-License-Identifier: BSL-1.0
# setup.sh [PACKAGE…]: installs what is missing to build Procyard with its tests and examples on
# Debian 12, Ubuntu 24.04 or newer, and the PACKAGEs given. Says and does nothing when nothing is
# missing. Needs root or a sudo that does not ask; without, one line names what is missing.
set -euo pipefail

extra=("$@")
boost_at_least=1.81
cmake_at_least=3.25

have_dpkg() { command -v dpkg-query >/dev/null && command -v apt-get >/dev/null; }

installed() {
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

# at_least VERSION LEAST: true when VERSION is not older.
at_least() { [[ $(printf '%s\n' "$2" "$1" | sort -V | head -n 1) == "$2" ]]; }

boost_installed() {
    local name version
    while read -r name version; do
        [[ $name =~ ^libboost[0-9.]*-dev$ ]] && at_least "$version" "$boost_at_least" && return 0
    done < <(dpkg-query -W -f '${db:Status-Status} ${Package} ${Version}\n' 'libboost*-dev' \
        2>/dev/null | sed -n 's/^installed //p')
    return 1
}

# The plain libboost-dev where it is new enough, else the oldest versioned package that is (Debian
# 12 has 1.74 under the plain name and 1.81 beside it).
boost_package() {
    local name version
    for name in libboost-dev $(apt-cache pkgnames libboost1. 2>/dev/null |
        grep -E '^libboost1\.[0-9]+-dev$' | sort -V); do
        version=$(apt-cache policy "$name" 2>/dev/null | sed -n 's/^ *Candidate: //p')
        if [[ -n $version && $version != "(none)" ]] && at_least "$version" "$boost_at_least"; then
            echo "$name"
            return
        fi
    done
    echo libboost-dev
}

cmake_usable() {
    local version
    version=$(cmake --version 2>/dev/null | sed -n '1s/^cmake version //p')
    [[ -n $version ]] && at_least "$version" "$cmake_at_least"
}

# Tools count wherever they come from; libraries are asked of dpkg, and without dpkg of nobody:
# then CMake looks for them.
missing() {
    local package
    command -v "${CXX:-c++}" >/dev/null || echo g++
    cmake_usable || echo cmake
    command -v ninja >/dev/null || echo ninja-build
    have_dpkg || return 0
    boost_installed || boost_package
    for package in doctest-dev libcli11-dev libfmt-dev prometheus-cpp-dev "${extra[@]}"; do
        installed "$package" || echo "$package"
    done
}

give_up() {
    echo "setup: cannot install the missing packages: $(missing | xargs) ($1)" >&2
    exit 1
}

if [[ -z $(missing) ]]; then
    exit 0
fi
have_dpkg || give_up "no apt-get here; Boost $boost_at_least, doctest, CLI11 and fmt are needed too"

as_root=()
if [[ $(id -u) != 0 ]]; then
    as_root=(sudo -n)
    "${as_root[@]}" true 2>/dev/null || give_up "neither root nor a sudo without password"
fi
apt() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 apt-get -qq -y \
        -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@" </dev/null
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
# Lists that are old or absent (a container has none) name packages that cannot be fetched. A failure
# is not the end: the packages may lie in the cache, and the next step says if not.
apt update >"$log" 2>&1 || true
mapfile -t packages < <(missing)
if [[ -t 2 ]]; then echo "setup: installing ${packages[*]}" >&2; fi
# --no-remove: taking a package from the machine is not ours to decide.
apt install --no-install-recommends --no-remove "${packages[@]}" >>"$log" 2>&1 || true
if [[ -n $(missing) ]]; then
    reason=$(grep -E '^E: ' "$log" | head -n 1 | cut -c 4-) || true
    give_up "${reason:-apt-get has installed something, but not enough}"
fi
echo "setup: installed ${packages[*]} in $SECONDS s" >&2
