#!/bin/bash
# SPDX-License-Identifier: BSL-1.0
# tests/consumers/run.sh [DIRECTORY]: builds and runs a program in every way in which Procyard can be
# used: installed (static, shared, one component, moved elsewhere, through pkg-config), embedded and
# fetched. The sources are a `git archive` of the tracked files as they are now, so that what is
# released is what is tried. DIRECTORY (build/consumers unless given) is emptied first.
# shellcheck disable=SC2317  # the functions are called through `check`
set -uo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
root=$(cd -- "$here/../.." && pwd -P)
work=${1:-$root/build/consumers}
tree=$work/tree
log=$work/log
passed=0
failed=0

rm -rf "$work"
mkdir -p "$tree"
if command -v ccache >/dev/null; then
    # Some of this .ci/run compiles as well, and some is compiled here twice. ccache knows it again if
    # options and relative paths are the same: hence the places of the build directories.
    export CMAKE_CXX_COMPILER_LAUNCHER=ccache CCACHE_BASEDIR=$work CCACHE_NOHASHDIR=1
    export CCACHE_SLOPPINESS=pch_defines,time_macros
fi
export CMAKE_GENERATOR=Ninja
# The shared libraries are by Clang where it is, with what is not ours precompiled: that takes a third
# of the time of the default compiler, which makes everything else, and the programs that use them.
shared_options=()
if command -v clang++-19 >/dev/null; then
    shared_options=(-DCMAKE_CXX_COMPILER=clang++-19 -DPROCYARD_PRECOMPILE=ON)
fi
unset BUILD_SHARED_LIBS procyard_DIR procyard_ROOT PKG_CONFIG_PATH

# check SENTENCE COMMAND…: the output is shown when the command fails.
check() {
    local sentence=$1
    shift
    if "$@" >"$log" 2>&1; then
        passed=$((passed + 1))
        echo "ok: $sentence"
    else
        failed=$((failed + 1))
        echo "FAILED: $sentence"
        tail -n 40 "$log" | sed 's/^/    /'
    fi
}

finish() {
    echo "consumers: $passed passed, $failed failed"
    exit $((failed > 0))
}

archive() {
    if git -C "$root" rev-parse --git-dir >/dev/null 2>&1; then
        # A stash commit holds the changes that are not committed yet; it is empty without any.
        local state
        state=$(git -C "$root" stash create)
        git -C "$root" archive "${state:-HEAD}" | tar -x -C "$tree"
    else
        tar -c -C "$root" --exclude=./build . | tar -x -C "$tree"
    fi
}

# install_procyard KIND SHARED [OPTION…]
install_procyard() {
    local kind=$1 shared=$2 build=$tree/build/$1
    shift 2
    cmake -S "$tree" -B "$build" -DBUILD_SHARED_LIBS="$shared" \
        -DPROCYARD_BUILD_TESTS=OFF -DPROCYARD_BUILD_EXAMPLES=OFF -DPROCYARD_BUILD_BENCH=OFF \
        --install-prefix "$work/born-$kind" "$@" &&
        cmake --build "$build" &&
        cmake --install "$build" &&
        mv "$work/born-$kind" "$work/prefix-$kind"
}

# A prefix that has been moved is as good as the one it was installed to only if no file names it.
names_no_prefix() { ! grep -rIl -e "$work" "$work/prefix-$1"; }

find_package() {
    local kind=$1 module=$2 build=$work/find-$1-$2
    cmake -S "$tree/tests/consumers/find_package" -B "$build" -DMODULE="$module" \
        -DCMAKE_PREFIX_PATH="$work/prefix-$kind" &&
        cmake --build "$build" && "$build/consumer"
}

# Warnings are errors: here the headers are found like the user's own.
pkg_config() {
    local kind=$1 module=$2 flags rpath
    export PKG_CONFIG_PATH=$work/prefix-$kind/lib/pkgconfig
    read -ra flags < <(pkg-config --cflags --libs "procyard-$module")
    rpath=$(pkg-config --variable=libdir "procyard-$module")
    c++ -std=c++20 -Wall -Wextra -Wpedantic -Werror -o "$work/pkg-$kind-$module" \
        "$tree/tests/consumers/programs/$module.cpp" "${flags[@]}" "-Wl,-rpath,$rpath" &&
        "$work/pkg-$kind-$module"
}

# Hidden visibility: whatever is exported by name is ours.
exports_only_ours() {
    local library others
    for library in "$work"/prefix-shared/lib/libprocyard_*.so; do
        others=$(nm -DC --defined-only "$library" | sed -n 's/^[0-9a-f]* T //p' |
            grep -v 'procyard::') && { echo "$library: $others"; return 1; }
    done
    return 0
}

refused() {
    local sentence=$1 build
    shift
    build=$(mktemp -d "$work/refused-XXXXXX")
    cmake -S "$tree/tests/consumers/refused" -B "$build" \
        -DCMAKE_PREFIX_PATH="$work/prefix-static" "$@" >"$build/said" 2>&1
    # CMake wraps its messages.
    tr -s '\n ' ' ' <"$build/said" | tee /dev/stderr | grep -qF -e "$sentence"
}

# embed KIND [SHARED [OPTION…]]: as a part of somebody else's build, which says what libraries are.
embed() {
    local kind=$1 shared=${2:-OFF} build=$work/$1
    if [[ $shared == ON ]]; then build+=-shared; fi
    shift $(($# < 2 ? $# : 2))
    cmake -S "$tree/tests/consumers/$kind" -B "$build" -DPROCYARD_TREE="$tree" \
        -DBUILD_SHARED_LIBS="$shared" -DCMAKE_EXPORT_COMPILE_COMMANDS=ON \
        --install-prefix "$build-prefix" "$@" &&
        cmake --build "$build" --target consumer && "$build/consumer" || return
    # Not that the option has been ignored.
    [[ $shared == OFF || $(ldd "$build/consumer") == *libprocyard_ipc* ]]
}
registers_no_test() {
    ctest --test-dir "$work/subdir" -N | tee /dev/stderr | grep -q 'Total Tests: 1$'
}
installs_nothing() {
    # What install(TARGETS) of the parent needs is built; only the parent's program arrives.
    cmake --install "$work/subdir" &&
        [[ $(cd "$work/subdir-prefix" && find . -type f) == ./bin/consumer ]]
}
adds_no_flags() {
    grep -q procyard_ipc "$work/subdir/compile_commands.json" &&
        ! grep -nE -e ' -(W|g|O)|-fsanitize' "$work/subdir/compile_commands.json"
}

check "the archive unpacks" archive
check "static: builds and installs from the archive" install_procyard static OFF \
    -DCMAKE_BUILD_TYPE=Release
check "shared: builds and installs from the archive" install_procyard shared ON \
    "${shared_options[@]}"
for kind in static shared; do
    check "$kind: no installed file names the prefix" names_no_prefix "$kind"
    for module in ipc signals runtime; do
        check "$kind, moved: find_package, component $module" find_package "$kind" "$module"
        check "$kind, moved: pkg-config procyard-$module" pkg_config "$kind" "$module"
    done
done
check "shared: exports nothing but procyard" exports_only_ours
check "refused: an unknown component" \
    refused 'procyard has no component "nonsense"; it has: ipc, signals, runtime.' \
    -DVERSION=0.1 "-DREQUEST=COMPONENTS;ipc;nonsense"
check "refused: another minor version" refused 'found: 0 ()' -DVERSION=0.2
check "refused: another Boost" refused 'this procyard was built with Boost' \
    -DVERSION=0.1 "-DBoost_DIR=$tree/tests/consumers/refused/other_boost"
check "not refused: an unknown component that is optional" \
    refused 'found: 1 ()' -DVERSION=0.1 "-DREQUEST=OPTIONAL_COMPONENTS;nonsense"
# One module from here on, which is compiled once for both: all of them are compiled above.
check "embedded: add_subdirectory, without a trace in the cache" embed subdir OFF -DMODULE=ipc
check "embedded: no test of ours is registered" registers_no_test
check "embedded: nothing of ours is installed" installs_nothing
check "embedded: no flag of ours is added" adds_no_flags
check "fetched: FetchContent with SOURCE_DIR" embed fetch
# Once: FetchContent is add_subdirectory of what it has fetched.
check "embedded: add_subdirectory, shared libraries, in a unity build" \
    embed subdir ON -DMODULE=ipc -DCMAKE_UNITY_BUILD=ON "${shared_options[@]}"
finish
