#!/bin/bash
# SPDX-License-Identifier: BSL-1.0
# check.sh MODEL.pml holds|refuted OPTIONS…: looks at every state of the model, once for each
# OPTIONS (a list of -D…), and wants no error, or one. `holds` counts only when the search has come
# to its end. Exits with 77 and says why where there is no spin.
set -euo pipefail

model=$(readlink -e -- "$1")
expected=$2
shift 2

compiler=${CC:-cc}
for tool in spin "$compiler"; do
    command -v "$tool" >/dev/null || { echo "skipped: $tool is not installed"; exit 77; }
done

directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"

# Where an error is soon found, compiling is what takes the time.
optimization=-O1
if [[ $expected == refuted ]]; then optimization=-O0; fi
# What pan says when it has given up before the end.
incomplete='max search depth too small|Search not completed|reached -DMEMLIM|out of memory|aborting'
failures=0

# fail REASON: with all that was said.
fail() {
    echo "FAILED: $1"
    cat said
    failures=$((failures + 1))
}

for options in "$@"; do
    rm -f -- *
    cp -- "$model" model.pml
    # shellcheck disable=SC2086  # a list
    if ! spin $options -a model.pml >said 2>&1 ||
        ! "$compiler" "$optimization" -w -DSAFETY -DMEMLIM=1500 -o pan pan.c >>said 2>&1 ||
        ! ./pan -m5000 -n >said 2>&1; then
        fail "$options: does not run"
        continue
    fi
    errors=$(sed -nE 's/.*errors: ([0-9]+)$/\1/p' said)
    states=$(sed -nE 's/^ *([0-9]+) states, stored.*/\1/p' said)
    seconds=$(sed -nE 's/^pan: elapsed time ([0-9.e+-]+) seconds$/\1/p' said)
    if [[ $expected == refuted ]]; then
        reason=$(sed -nE 's/^pan:[0-9]+: //p' said | head -n 1)
        if [[ ${errors:-0} == 0 || -z $reason ]]; then
            fail "$options: no error found in $states states"
        else
            echo "refuted: $options: $reason"
        fi
    elif [[ $errors != 0 ]]; then
        fail "$options: an error"
        # shellcheck disable=SC2086
        spin $options -p -g -t model.pml | tail -n 300 || true
    elif grep -qE "$incomplete" said; then
        fail "$options: the search did not come to its end"
    else
        echo "holds: $options: $states states in $seconds s"
    fi
done
exit $((failures > 0))
