#!/bin/bash
# SPDX-License-Identifier: BSL-1.0
# shellcheck disable=SC2016,SC2317  # for the inner shells; the functions are called by name
# demo_test.sh DEMO CASE: runs one sub-command of the demo as a user would, and looks at what it
# prints, at its exit code and at what it leaves behind.
set -u

demo=$1
case_name=$2
directory=$(mktemp -d "${TMPDIR:-/tmp}/procyard-demo.XXXXXX")
trap 'rm -rf "$directory"' EXIT
failures=0

# expect CODE TEXT COMMAND…: the exit code, and a regular expression that the output must match
# (standard error included).
expect() {
    local code=$1 text=$2 output actual
    shift 2
    output=$("$@" 2>&1 </dev/null)
    actual=$?
    if [[ $actual != "$code" || ! $output =~ $text ]]; then
        echo "FAILED: ${*//$demo/demo}"
        echo "  expected exit $code and: $text"
        echo "  got exit $actual and: $output"
        failures=$((failures + 1))
    fi
}

test_pty() {
    expect 0 '^/dev/pts/[0-9]+[^0-9]+24 80' "$demo" pty -- sh -c 'tty && stty size'
    expect 3 '' "$demo" pty -- sh -c 'exit 3'
    expect 137 '' "$demo" pty -- sh -c 'kill -9 $$'
    expect 126 'spawn "/": exec: Permission denied' "$demo" pty /
    expect 127 'spawn "no-such-program": lookup in' "$demo" pty -- no-such-program
    expect 125 'CMD is required' "$demo" pty
    # No keyboard is an empty one; no screen is named.
    expect 0 '^typed nothing' sh -c 'exec "$@" <&-' sh "$demo" pty -- \
        sh -c 'read -r line || echo "typed nothing$line"'
    expect 125 '^demo: standard output: Bad file descriptor' sh -c 'exec "$@" >&-' sh "$demo" pty -- \
        true
    # Typed at a terminal, hence echoed; the end of the input is ^D.
    expect 0 $'^hello\r?\nhello' sh -c 'echo hello | "$1" pty cat' sh "$demo"
    # What the program left behind holds the terminal, and delays nobody: it ends when the demo has.
    local pid
    mkfifo "$directory/gate" "$directory/answer"
    expect 0 '^done' "$demo" pty -- sh -c '
        trap "" HUP
        { read -r _ <"$0/gate"; echo >"$0/answer"; } & echo $! >"$0/pids"; echo done' "$directory"
    read -r pid <"$directory/pids"
    if kill -0 "$pid"; then
        echo >"$directory/gate"
        read -r _ <"$directory/answer"
    else
        fail 'what was left behind is gone: it could not have delayed anybody'
    fi
}

# Told twice to end, it ends also who is suspended or does not listen. (Told once, after the grace,
# which is too long for a test.)
test_hangup() {
    local pid program
    mkfifo "$directory/ready" "$directory/silence"
    exec 7<>"$directory/silence"
    for program in 'echo $$ >"$0"; kill -STOP $$; exit 5' \
        'trap "" HUP; echo $$ >"$0"; exec sleep 1000'; do
        "$demo" pty -- sh -c "$program" "$directory/ready" <&7 >"$directory/log" 2>&1 &
        pid=$!
        read -r program <"$directory/ready"
        # Pending signals of one number are one; these are two.
        kill -TERM "$pid" && kill -INT "$pid"
        await_death "$program"
        is_gone "$program" || fail "the program has outlived two signals"
        { kill -0 "$pid" && await_death "$pid"; } 2>/dev/null
        is_gone "$pid" || fail "the demo has outlived two signals"
        kill -9 "$program" "$pid" 2>/dev/null
    done
    wait "$pid"
}

# is_gone PID: it has ended. A zombie has: whom it belongs to now is not our business.
is_gone() {
    local state=
    read -r _ _ state _ 2>/dev/null <"/proc/$1/stat"
    [[ $state == "" || $state == Z ]]
}

# await_death PID: of one that was killed by the test itself. A kill returns before its target has
# ended, and who is no child of ours cannot be waited for.
await_death() {
    local end=$((SECONDS + 30))
    until is_gone "$1" || ((SECONDS > end)); do :; done
}

# await_child PID WORD: prints the number of the first child of PID, when there is one, whose command
# line has a word that begins with WORD. The words change at the very moment of the exec: until then
# each child, whatever it is about to become, looks like its parent, and has its executable.
await_child() {
    local end=$((SECONDS + 30)) status line words
    until ((SECONDS > end)); do
        for status in /proc/[0-9]*/stat; do
            { read -r line <"$status"; } 2>/dev/null || continue
            [[ ${line##*) } =~ ^[^Z]\ $1\  ]] || continue
            status=${status%/stat}
            { mapfile -d '' -t words <"$status/cmdline"; } 2>/dev/null || continue
            if [[ " ${words[*]}" == *" $2"* ]]; then
                echo "${status#/proc/}"
                return
            fi
        done
    done
}

# nobody_left COUNT: the processes that have written their numbers to $directory/pids are gone.
nobody_left() {
    local pid count=0
    while read -r pid; do
        count=$((count + 1))
        if ! is_gone "$pid"; then
            echo "FAILED: process $pid is left behind"
            failures=$((failures + 1))
        fi
    done <"$directory/pids"
    if [[ $count != "$1" ]]; then
        echo "FAILED: $count processes were started, not $1"
        failures=$((failures + 1))
    fi
}

test_run() {
    expect 0 '^$' "$demo" run -- true
    expect 3 '' "$demo" run sh -c 'exit 3'
    expect 143 '' "$demo" run -- sh -c 'kill $$'
    # The program's own dashes stay its own.
    expect 0 '^a --timeout -- -b$' "$demo" run --timeout 1m echo a --timeout -- -b
    expect 124 'timeout after 100 ms: SIGTERM to the tree; empty' \
        "$demo" run --timeout 100ms -- sleep 1000
    # Nobody escapes: neither who ignores SIGTERM, nor who has a session of his own.
    expect 137 'SIGTERM to the tree; after .* SIGKILL to the tree; empty' \
        "$demo" run --timeout 1 --grace 50ms -- sh -c '
            trap "" TERM
            me="echo \$\$ >>\"\$0\"; exec sleep 1000"
            setsid sh -c "$me" "$1" & sh -c "$me" "$1" & sh -c "$me" "$1"' sh "$directory/pids"
    nobody_left 3
    # Nor does who has stopped himself, where no shell could let him go on.
    expect 124 'timeout after 100 ms: SIGTERM to the tree; empty' \
        "$demo" run --timeout 100ms --grace 1m -- sh -c 'kill -STOP $$; exit 5'
    # (On a terminal he is let go on once, since he may have tried to read from it too early.)
    expect 124 'timeout after 1.0 s: SIGTERM to the tree; empty' \
        "$demo" pty -- "$demo" run --timeout 1s --grace 1m -- \
        sh -c 'trap "kill -STOP \$\$; exit 5" CONT; sleep 1000 & wait; wait'
    # SIGKILL from somebody else is not the time limit's.
    expect 137 '^$' "$demo" run --timeout 1m -- sh -c 'kill -9 $$'
    expect 125 '"5 minutes" is no duration' "$demo" run --timeout '5 minutes' -- true
    expect 125 'CMD is required' "$demo" run --timeout 5s
    expect 126 'exec: Permission denied' "$demo" run -- /
    expect 127 'no-such-program' "$demo" run -- no-such-program
}

# What the demo is told is passed on to everybody it has started.
test_signal() {
    local pid code
    mkfifo "$directory/ready"
    "$demo" run --grace 100ms -- sh -c 'sleep 1000 & echo $! >"$0/pids"; echo >"$0/ready"; wait' \
        "$directory" &
    pid=$!
    read -r _ <"$directory/ready"
    kill -INT "$pid"
    wait "$pid"
    code=$?
    if [[ $code != 130 ]]; then
        echo "FAILED: exit $code after SIGINT"
        failures=$((failures + 1))
    fi
    nobody_left 1
}

# A daemon in a session of its own, whose parent has ended before anybody looked, is stopped too.
test_daemon() {
    local pid code
    mkfifo "$directory/ready"
    "$demo" run --grace 1m -- sh -c '
        (setsid sh -c "echo \$\$ >\"\$0/pids\"; echo >\"\$0/ready\"; exec sleep 1000" "$0" &)
        exec sleep 1000' "$directory" &
    pid=$!
    read -r _ <"$directory/ready"
    # At this moment it may be in the middle of an exec, when nothing shows whose it is.
    kill -TERM "$pid"
    wait "$pid"
    code=$?
    [[ $code == 143 ]] || fail "exit $code after SIGTERM"
    nobody_left 1
    # And the message tells what that is worth.
    expect 124 'SIGTERM to the tree; empty after .* \(tree: (cgroup|subreaper)\)' \
        "$demo" run --timeout 100ms -- sleep 1000
}

# fail TEXT: one more failure.
fail() {
    echo "FAILED: $1"
    failures=$((failures + 1))
}

# Headers under names that a shell would take apart, and what else may lie there.
make_headers() {
    mkdir -p "$directory/headers/a b" "$directory/headers/empty" "$directory/headers/a.h"
    printf 'int main; int x2;\n' >"$directory/headers/a b/with space.h"
    printf 'int y; class main\n' >"$directory/headers/new"$'\n'"line.hpp"
    printf 'int main\n' >"$directory/headers/-n.hh"
    printf 'int\0x2 4u 0xff\n' >"$directory/headers/'quoted\".hxx"
    printf 'int nobody_counts_this;' >"$directory/headers/source.c"
    mkfifo "$directory/headers/fifo.h"
    ln -s -- -n.hh "$directory/headers/link.h"
}

test_check() {
    make_headers
    expect 0 'find +exit 0.*\[count\] +done.* 5 int.* 3 main.* 2 x2.* 1 class.*the results are the same' \
        "$demo" --check --input "$directory/headers"
    # The result alone goes to standard output.
    "$demo" --input "$directory/headers" 2>/dev/null >"$directory/result"
    if ! diff - "$directory/result" <<<$'      5 int\n      3 main\n      2 x2\n      1 class\n      1 u\n      1 xff\n      1 y'; then
        fail 'the result is another'
    fi
    # A reader that takes one line, no reader, no room.
    expect 0 '^      5 int$' sh -c '"$1" --input "$2" 2>/dev/null | head -n 1' sh "$demo" \
        "$directory/headers"
    expect 2 'standard output: Bad file descriptor' sh -c 'exec "$1" --input "$2" >&-' sh "$demo" \
        "$directory/headers"
    expect 2 'standard output: No space left' sh -c 'exec "$1" --input "$2" >/dev/full' sh "$demo" \
        "$directory/headers"
    expect 0 '^      5 int' sh -c 'exec "$1" --input "$2" 2>&-' sh "$demo" "$directory/headers"
    expect 0 '^      5 int' sh -c 'exec "$1" --input "$2" 2>/dev/full' sh "$demo" \
        "$directory/headers"
    # What cannot be read is told, and is not a success.
    fake cat '/usr/bin/cat "$@"; echo "cat: one: Input/output error" >&2; exit 1'
    expect 1 'cat: one: Input.*"xargs": exit 123.*1 complaint' "$demo" --input "$directory/headers"
    rm "$directory/bin/cat"
    # The shell alone runs uniq.
    fake uniq 'echo 7 wrong'
    expect 1 'the results DIFFER.*7 wrong' "$demo" --check --input "$directory/headers"
}

# The same result as the main job's, by a pool of processes.
test_index() {
    make_headers
    expect 0 ' 5 int.* 3 main.* 2 x2.* 1 class.*4 files, .* by 3 workers.*sh -c took .*the results are the same.*xargs -P 3 took' \
        "$demo" index --workers 3 --check --input "$directory/headers"
    # The result alone goes to standard output.
    "$demo" index --input "$directory/headers" 2>/dev/null >"$directory/result"
    if ! diff - "$directory/result" <<<$'      5 int\n      3 main\n      2 x2\n      1 class\n      1 u\n      1 xff\n      1 y'; then
        fail 'the result is another'
    fi
    expect 2 'standard output: No space left' sh -c 'exec "$1" index --input "$2" >/dev/full' sh \
        "$demo" "$directory/headers"
    expect 2 'demo: .*/no-such: No such file' "$demo" index --input "$directory/no-such"
    expect 2 'Not a directory' "$demo" index --input "$directory/headers/-n.hh"
    mkdir "$directory/nothing"
    expect 1 'no C or C\+\+ header under .*/nothing' "$demo" index --input "$directory/nothing"
    expect 2 'workers' "$demo" index --workers 0
    # A worker's place is not for people.
    expect 2 '' "$demo" no-such-command
    # The shell alone runs uniq.
    fake uniq 'echo 7 wrong'
    expect 1 'the results DIFFER.*7 wrong' "$demo" index --check --input "$directory/headers"
    rm "$directory/bin/uniq"
    # Found, and gone when it is to be read.
    fake find '/usr/bin/find "$@"; printf "1 %s\0" "$2/gone.h"'
    expect 1 'gone.h: No such file.*1 complaint' "$demo" index --input "$directory/headers"
}

# Words are cut where one part ends and the next one begins, and workers are killed.
test_index_chaos() {
    local n
    mkdir "$directory/headers"
    for n in {1..60}; do
        seq -f 'some word%.0f' 1 10000 >"$directory/headers/$n.h"
        printf 'cut%d' "$n" >>"$directory/headers/$n.h"
    done
    expect 0 '60 files, .*[1-9] workers were killed; .*the results are the same' \
        "$demo" index --workers 3 --chaos --check --input "$directory/headers"
}

# What takes longer than anybody waits: nothing but NUL for a tebibyte.
endless_header() {
    mkdir -p "$directory/headers"
    truncate -s 1T "$directory/headers/endless.h"
}

# While it counts: how far it is, and how fast each worker is of which that is known. One of the two is
# busy for ever, so the other one has all the rest; its first part counts for nothing.
test_index_progress() {
    local pid line n worker=none rate=0 parent=
    endless_header
    for n in {1..8}; do truncate -s 2M "$directory/headers/$n.h"; done
    mkfifo "$directory/messages"
    "$demo" index --workers 2 --input "$directory/headers" >/dev/null 2>"$directory/messages" &
    pid=$!
    exec 8<"$directory/messages"
    for n in {1..10}; do
        read -r line <&8
        if [[ $line =~ ^[0-9]/9\ files\ \ .*\ of\ .*/s\ .*\ ([0-9]+):\ ([0-9.]+)\ [KMG]?B/s ]]; then
            worker=${BASH_REMATCH[1]}
            rate=${BASH_REMATCH[2]}
            break
        fi
    done
    { read -r _ _ _ parent _ <"/proc/$worker/stat"; } 2>/dev/null
    [[ $parent == "$pid" ]] || fail "no rate of one of its workers: $line"
    [[ $rate =~ [1-9] ]] || fail "one that has worked has no rate: $line"
    kill -TERM "$pid"
    /bin/cat <&8 >"$directory/log"
    ends_with 143 'interrupted by SIGTERM; [0-9] of 9 files were counted' "$pid"
}

# Told to end, it lets the workers finish, but not for ever; told twice, it ends at once. Killed, it
# takes its workers along.
test_index_interrupt() {
    local pid worker code
    endless_header
    "$demo" index --input "$directory/headers" >"$directory/log" 2>&1 &
    pid=$!
    worker=$(await_child "$pid" procyard-worker)
    kill -TERM "$pid"
    ends_with 143 'interrupted by SIGTERM; 0 of 1 files were counted' "$pid"
    await_death "$worker"
    is_gone "$worker" || fail 'a worker has outlived a demo that was told to end'
    "$demo" index --input "$directory/headers" >"$directory/log" 2>&1 &
    pid=$!
    worker=$(await_child "$pid" procyard-worker)
    # One of them is told, the other one ends it: it dies of that, and has no time for a word.
    kill -STOP "$pid" && kill -HUP "$pid" && kill -TERM "$pid" && kill -CONT "$pid"
    { wait "$pid"; } 2>/dev/null
    code=$?
    [[ $code == 129 || $code == 143 ]] || fail "exit $code after two signals"
    [[ $(<"$directory/log") != *interrupted* ]] || fail 'the second signal did not end it at once'
    await_death "$worker"
    is_gone "$worker" || fail 'a worker has outlived a demo that was told twice to end'
    "$demo" index --input "$directory/headers" >"$directory/log" 2>&1 &
    pid=$!
    worker=$(await_child "$pid" procyard-worker)
    kill -9 "$pid"
    { wait "$pid"; } 2>/dev/null
    await_death "$worker"
    is_gone "$worker" || fail 'a worker has outlived a demo that was killed'
    expect 124 'timeout after 1.0 s; 0 of 1 files were counted' \
        "$demo" index --timeout 1s --input "$directory/headers"
}

test_arguments() {
    expect 0 'SIGKILL to.the demo itself takes CMD along, but not what CMD has started' \
        "$demo" run --help
    mkdir "$directory/nothing"
    expect 1 'no C or C\+\+ header under .*/nothing' "$demo" --input "$directory/nothing"
    expect 1 'no C or C\+\+ header' "$demo" --check --input "$directory/nothing"
    expect 2 'missing: No such file or directory' "$demo" --input "$directory/missing"
    expect 2 'Not a directory' "$demo" --input "$demo"
    expect 2 '"never" is no duration' "$demo" --timeout never
    expect 2 '"-5s" is no duration' "$demo" --timeout=-5s
    expect 2 '"8785h" is more than 366 days' "$demo" --timeout 8785h
    expect 125 '"8785h" is more than 366 days' "$demo" run --grace 8785h -- true
    expect 0 '' "$demo" run --timeout 8784h -- true
    expect 0 'at most 366 days' "$demo" run --help
    expect 2 '^--input: an empty name' "$demo" --input ''
    expect 2 'not expected: --bogus' "$demo" --bogus
    expect 2 'not expected: bogus' "$demo" bogus
    expect 2 'input' "$demo" --input
    expect 0 'Prints the 20 most frequent identifiers' "$demo" --help
    local code
    for code in 1 2 124 125 126 127 '128 \+ N' 129 130 143; do
        expect 0 "Exit code:.*[ (]${code}[[:space:]]" "$demo" --help
    done
    expect 0 'CMD \[ARGUMENT\.\.\.\]' "$demo" run --help
    # A program of the pipeline that is not there.
    expect 127 'spawn "find": lookup in "/nonexistent": No such file' \
        env PATH=/nonexistent "$demo" --input "$directory/nothing"
}

# fake NAME SCRIPT: from now on this is the program of that name.
fake() {
    mkdir -p "$directory/bin"
    printf '#!/bin/sh\n%s\n' "$2" >"$directory/bin/$1"
    chmod +x "$directory/bin/$1"
    PATH=$directory/bin:$PATH
}

# A `cat` that takes for ever, ignores SIGTERM and has a child in a session of its own. It says so
# when it is there; all write down who they are.
fake_slow_cat() {
    make_headers
    mkfifo "$directory/ready"
    fake cat "trap '' TERM INT HUP
        me='echo \$\$ >>$directory/pids; echo >$directory/ready; exec sleep 1000'
        setsid sh -c \"\$me\" & echo \$\$ >>$directory/pids; echo >$directory/ready; wait; wait"
}

# Both have said that they are there.
await_slow_cat() {
    exec 9<>"$directory/ready"
    read -r _ <&9
    read -r _ <&9
    exec 9<&-
}

# ends_with CODE TEXT PID: a background demo, which wrote to $directory/log.
ends_with() {
    local code=$1 text=$2 pid=$3 actual log
    wait "$pid"
    actual=$?
    log=$(<"$directory/log")
    if [[ $actual != "$code" || ! $log =~ $text ]]; then
        fail "exit $actual, not $code; expected: $text"
        echo "  got: $log"
    fi
}

# Told to end, it ends everybody; told twice, at once.
test_interrupt() {
    local pid line
    fake_slow_cat
    "$demo" --input "$directory/headers" >"$directory/log" 2>&1 &
    pid=$!
    await_slow_cat
    kill -TERM "$pid"
    ends_with 143 'close stdin, SIGTERM to the tree; .*SIGKILL .*interrupted by SIGTERM' "$pid"
    nobody_left 2
    rm "$directory/pids"
    mkfifo "$directory/messages"
    "$demo" --input "$directory/headers" >/dev/null 2>"$directory/messages" &
    pid=$!
    exec 8<"$directory/messages"
    await_slow_cat
    kill -INT "$pid"
    while read -r line <&8 && [[ $line != stopping* ]]; do :; done
    kill -INT "$pid"
    /bin/cat <&8 >"$directory/log"
    ends_with 130 'close stdin, SIGTERM to the tree; .*SIGKILL .*interrupted by SIGINT' "$pid"
    nobody_left 2
}

# Elsewhere than on a terminal: lines, now and then, of text alone.
test_progress() {
    local pid line
    fake_slow_cat
    mkfifo "$directory/messages"
    "$demo" --input "$directory/headers" >/dev/null 2>"$directory/messages" &
    pid=$!
    exec 8<"$directory/messages"
    await_slow_cat
    read -r line <&8
    if [[ ! $line =~ ^[0-9/]+\ files\ \ [0-9.]+\ .*\ stages?\ ?.*$ || $line == *[$'\r\e']* ]]; then
        fail "no line of progress: $line"
    fi
    kill -INT "$pid" && kill -INT "$pid"
    /bin/cat <&8 >"$directory/log"
    ends_with 130 'interrupted by SIGINT' "$pid"
    nobody_left 2
    rm "$directory/pids"
    # On one, it is one line, written over itself: no line ends between two looks at it.
    mkfifo "$directory/screen" "$directory/keys"
    exec 7<>"$directory/keys"
    "$demo" pty -- "$demo" --input "$directory/headers" <"$directory/keys" >"$directory/screen" 2>&1 &
    pid=$!
    exec 6<"$directory/screen"
    await_slow_cat
    read -r -d $'\r' line <&6
    for _ in 1 2 3; do
        read -r -d $'\r' line <&6
        if [[ $line != *' files  '*' stages'*$'\e[K' || $line == *$'\n'* ]]; then
            fail "not a line written over itself: $line"
        fi
    done
    printf '\003\003' >&7
    /bin/cat <&6 >"$directory/log"
    ends_with 130 'interrupted by SIGINT' "$pid"
    nobody_left 2
}

# A search that takes long is not silent.
test_survey() {
    local pid line
    make_headers
    mkfifo "$directory/ready" "$directory/messages"
    fake find "echo 17; echo 4; echo >$directory/ready; exec sleep 1000"
    "$demo" --input "$directory/headers" >/dev/null 2>"$directory/messages" &
    pid=$!
    exec 8<"$directory/messages"
    read -r _ <"$directory/ready"
    read -r line <&8
    if [[ $line != "looking for headers under $directory/headers: "*' files' ]]; then
        fail "nothing said about the search: $line"
    fi
    kill -TERM "$pid"
    /bin/cat <&8 >"$directory/log"
    ends_with 143 'interrupted by SIGTERM' "$pid"
}

test_timeout() {
    fake_slow_cat
    exec 9<>"$directory/ready"
    expect 124 'SIGKILL to the tree.*timeout after 1.0 s' \
        "$demo" --timeout 1s --input "$directory/headers"
    nobody_left 2
}

# Somebody kills a stage, or the demo itself.
test_kill() {
    local pid stage line
    mkfifo "$directory/program"
    "$demo" run -- sh -c 'echo $$ >"$0"; exec sleep 1000' "$directory/program" &
    pid=$!
    read -r line <"$directory/program"
    kill -9 "$pid"
    { wait "$pid"; } 2>/dev/null
    await_death "$line"
    is_gone "$line" || fail 'the program has outlived a demo that was killed'
    fake_slow_cat
    fake grep "echo \$\$ >$directory/ready; exec sleep 1000"
    "$demo" --input "$directory/headers" >"$directory/log" 2>&1 &
    pid=$!
    exec 9<>"$directory/ready"
    stage=
    for _ in 1 2 3; do
        read -r line <&9
        stage=$stage$line
    done
    while read -r line; do kill -9 "$line"; done <"$directory/pids"
    kill -9 "$stage"
    while read -r line; do await_death "$line"; done <"$directory/pids"
    ends_with 1 'stage 3 of 6, "grep": killed by SIGKILL|stage 2 of 6, "xargs"' "$pid"
    nobody_left 2
}

# On a terminal the line is written over itself, and a ^C typed there ends everybody.
test_terminal() {
    fake_slow_cat
    (
        await_slow_cat
        printf '\003'
    ) | "$demo" pty -- "$demo" --input "$directory/headers" >"$directory/log" 2>&1 &
    ends_with 130 'interrupted by SIGINT' $!
    nobody_left 2
    rm "$directory/bin/cat"
    fake grep "/usr/bin/grep \"\$@\" || /bin/grep \"\$@\""
    # The window's size is passed on while the program runs.
    expect 7 '50 132' "$demo" pty -- sh -c '
        outer=$(tty)
        export outer
        exec "$0" pty -- sh -c "trap \"stty size; exit 7\" WINCH
            stty -F \$outer rows 50 columns 132; sleep 1000 & wait; wait"' "$demo"
    # Keys go through as they are; afterwards the terminal is as it was. (Nobody types, not even ^D: what
    # is typed before the terminal is raw arrives in another form.)
    mkfifo "$directory/silence"
    exec 7<>"$directory/silence"
    expect 0 '^raw.*as before' sh -c 'exec "$0" "$@" <&7' "$demo" pty -- sh -c '
        before=$(stty -g)
        outer=$(tty)
        export outer
        "$0" pty -- sh -c "stty -F \$outer -a | grep -q -e -icanon && echo raw"
        if [ "$(stty -g)" = "$before" ]; then echo as before; fi' "$demo"
}

# Figures of all kinds, each message in its place; what is shown meanwhile goes elsewhere.
test_channel() {
    local n='[0-9.]+( [kMG])?' t='[0-9.]+ (ns|µs|ms|s)' via
    "$demo" channel --seconds 100ms --size 8 --size 70000 >"$directory/table" 2>"$directory/live"
    ends_right $?
    for via in channel pipe 'channel, 64 KiB at once' 'pipe, 64 KiB at once'; do
        has table " 8 B  $via +$n +[0-9.]+ +[0-9.]+ +$n +[0-9]+ %"
    done
    for via in channel pipe; do
        has table "70000 B  $via +$n +[0-9.]+ +[0-9.]+ +$n +[0-9]+ %"
    done
    for via in channel 'channel, spin 50 µs' pipe; do
        has table "64 B  $via +$n/s +$t +$t +$n"
    done
    has table '^[0-9]+ messages, each in its place$'
    has live '^channel of 8 B: .*/s  .*/s  .* calls per million'
    if grep -q $'[\r\e]' "$directory/live"; then fail 'a terminal is spoken to where there is none'; fi
    "$demo" channel --seconds 50ms --size 8 --spin 0 >"$directory/table" 2>/dev/null
    ends_right $?
    if grep -q spin "$directory/table"; then fail 'a spin of 0 is none'; fi
    expect 2 '^--size: Value 7 not in range 8 to 16777216' "$demo" channel --size 7
    expect 2 'not in range' "$demo" channel --size 16777217
    expect 2 'many' "$demo" channel --size many
    expect 2 '^--seconds: a step takes some time' "$demo" channel --seconds 0
    expect 2 '^--spin: more than 100 ms' "$demo" channel --spin 101ms
    expect 2 '"soon" is no duration' "$demo" channel --timeout soon
    expect 2 'standard output: No space left' sh -c 'exec "$1" channel >/dev/full' sh "$demo"
    expect 125 'no channel of this name' "$demo" channel-peer sink 8
}

# What was sent by whom is killed arrives; who sends to whom is killed hears of it.
test_channel_kill() {
    local t='[0-9.]+ (ns|µs|ms|s)' size
    "$demo" channel --kill --seconds 200ms --size 64 --size 100000 >"$directory/table" 2>/dev/null
    ends_right $?
    for size in 64 100000; do
        has table "$size B  the sender +$t +[0-9]+ +[0-9]+ +[0-9]+ +0$"
        has table "$size B  the receiver +$t +[0-9]+ +[0-9]+ +≥ [0-9]+ +-$"
    done
}

# ends_right CODE: of a demo that has written into $directory, and should end with 0.
ends_right() {
    [[ $1 == 0 ]] || fail "exit $1: $(tail -n 3 "$directory/table" "$directory/live" 2>/dev/null)"
}

# has FILE TEXT: a line of $directory/FILE matches the regular expression.
has() {
    if ! grep -qE -- "$2" "$directory/$1"; then
        fail "not in $1: $2"
        cat "$directory/$1"
    fi
}

# Whoever ends it, and however: the other process ends as well.
test_channel_ended() {
    local pid peer how signal code text line
    for how in 'INT 130 interrupted by SIGINT' 'TERM 143 interrupted by SIGTERM'; do
        read -r signal code text <<<"$how"
        "$demo" channel --seconds 1m >"$directory/log" 2>&1 &
        pid=$!
        peer=$(await_child "$pid" channel-peer)
        kill "-$signal" "$pid"
        ends_with "$code" "$text" "$pid"
        is_gone "$peer" || fail "the other process has outlived SIG$signal"
    done
    expect 124 'timeout after 300 ms' "$demo" channel --seconds 1m --timeout 300ms
    # A ^C that is typed; and on a terminal, one line that is written over itself.
    mkfifo "$directory/screen" "$directory/keys"
    exec 7<>"$directory/keys"
    "$demo" pty -- "$demo" channel --seconds 1m <"$directory/keys" >"$directory/screen" 2>&1 &
    pid=$!
    exec 6<"$directory/screen"
    while read -r -d $'\r' line <&6 && [[ $line != channel* ]]; do :; done
    read -r -d $'\r' line <&6
    if [[ $line != 'channel of 8 B: '*$'\e[K' || $line == *$'\n'* ]]; then
        fail "not a line written over itself: $line"
    fi
    printf '\003' >&7
    /bin/cat <&6 >"$directory/log"
    ends_with 130 'interrupted by SIGINT' "$pid"
    # The other process, and then the demo, is killed by somebody else.
    "$demo" channel --seconds 1m >"$directory/log" 2>&1 &
    pid=$!
    kill -9 "$(await_child "$pid" channel-peer)"
    ends_with 125 'the other process: killed by SIGKILL.*the peer has died' "$pid"
    "$demo" channel --seconds 1m >"$directory/log" 2>&1 &
    pid=$!
    peer=$(await_child "$pid" channel-peer)
    kill -9 "$pid"
    { wait "$pid"; } 2>/dev/null
    await_death "$peer"
    is_gone "$peer" || fail 'the other process has outlived a demo that was killed'
}

"test_$case_name"
exit $((failures > 0))
