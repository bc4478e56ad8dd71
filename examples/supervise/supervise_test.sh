#!/bin/bash
# SPDX-License-Identifier: BSL-1.0
# supervise_test.sh SUPERVISE CASE: drives the runner as its user does.
set -eu
supervise=$1
place=$(mktemp -d)
runner=
idle=
finish() {
    [ -z "$idle" ] || kill -9 "$idle" 2> /dev/null || :
    [ -z "$runner" ] || kill -9 "$runner" 2> /dev/null || :
    for left in pid daemon.pid bare.pid; do
        [ ! -e "$left" ] || kill -9 "$(cat "$left")" 2> /dev/null || :
    done
    rm -rf "$place"
}
trap finish EXIT
cd "$place"

fail() {
    echo "FAILED: $*"
    [ ! -e out ] || cat out
    exit 1
}
# A short wait that is none for time: for what another process does next.
turn() {
    read -rt 0.02 _ <> <(:) || :
}
until_said() {
    local tries=0
    until grep -q "$1" out; do
        tries=$((tries + 1))
        [ $tries -lt 2000 ] || fail "never said: $1"
        kill -0 "$runner" 2> /dev/null || grep -q "$1" out || fail "ended, and never said: $1"
        turn
    done
}
start() {
    : > out  # what another one has said is none of its words
    "$supervise" run "$1" --socket control > out 2>&1 &
    runner=$!
}
end() {
    kill -TERM "$runner"
    code=0
    wait "$runner" || code=$?
    runner=
    [ $code = "$1" ] || fail "exit code $code and not $1"
}

case $2 in
arguments)
    "$supervise" > out 2>&1 && fail "without arguments it is content"
    grep -q "^supervise run FILE" out || fail "does not say how it is used"
    "$supervise" run nothing.ini > out 2>&1 && fail "runs a file that is not there"
    grep -q "^supervise: nothing.ini: No such file" out || fail "does not say which file"
    "$supervise" status --socket control > out 2>&1 && fail "asks nobody"
    grep -q "No such file" out || fail "does not say that nobody is there"
    ;;
control)
    printf '[db]\ncommand = echo up; exec tail -f /dev/null\nready = line up\n[web]\ncommand = exec tail -f /dev/null\ndepends_on = db\n' > x.ini
    "$supervise" check x.ini | grep -q '^web: exec tail' || fail "does not check"
    start x.ini
    until_said "web.1: starting -> ready"
    "$supervise" status --socket control > seen
    grep -q '^db  *ready  *[0-9]' seen || fail "status: $(cat seen)"
    "$supervise" restart web --socket control
    until_said "web.2: starting -> ready"
    "$supervise" replace db --socket control
    until_said "db.2: starting -> ready"
    "$supervise" logs db --socket control | grep -q '^  up$' || fail "no logs"
    "$supervise" stop web --socket control
    until_said "web.2: stopping -> exited"
    "$supervise" stop nobody --socket control 2> err && fail "stops who is not there"
    grep -q 'there is no service "nobody"' err || fail "does not say who is not there"
    "$supervise" start web --socket control
    until_said "web.3: starting -> ready"
    end 0
    [ ! -e control ] || fail "leaves its socket"
    ;;
crash)
    printf '[supervisor]\nrestarts = 2\n[bad]\ncommand = echo no luck >&2; exit 3\nbackoff = 1ms 1ms\n' > x.ini
    start x.ini
    code=0
    wait "$runner" || code=$?
    runner=
    [ $code = 1 ] || fail "exit code $code and not 1"
    grep -q "^given up: bad" out || fail "does not say who it was"
    grep -q 'exit 3 .*no luck' out || fail "does not say how it ended"
    ;;
killed)
    port=$((20000 + $$ % 10000))
    printf '[supervisor]\nstate = state\n[a]\ncommand = setsid tail -f /dev/null & echo $! > daemon.pid; env -i tail -f /dev/null & echo $! > bare.pid; echo $$ > pid.new; mv pid.new pid; exec tail -f /dev/null\nlisten = http:%s\nready = line never\n[b]\ncommand = exec tail -f /dev/null\n' $port > x.ini
    for _ in 1 2 3; do
        start x.ini
        until_said "b.1: starting -> ready"
        until [ -e pid ]; do turn; done
        read -r first < pid
        read -r daemon < daemon.pid
        read -r bare < bare.pid
        kill -9 "$runner"
        wait "$runner" 2> /dev/null || :
        rm pid
    done
    kill -0 "$daemon" || fail "the daemon has died by itself: nothing is tested"
    start x.ini
    until_said "b.1: starting -> ready"
    for pid in $first $daemon $bare; do
        ! kill -0 "$pid" 2> /dev/null || grep -q '^State:.*Z' "/proc/$pid/status" || fail "two of them: $first $daemon $bare: $(cat "/proc/$pid/status")"
    done
    end 0
    rm -f pid daemon.pid bare.pid  # their numbers may be others' by now
    ;;
clients)
    printf '[a]\ncommand = exec tail -f /dev/null\n' > x.ini
    ulimit -n 34
    start x.ini
    until_said "a.1: starting -> ready"
    # They say nothing; then one that is stopped all the same.
    python3 -c '
import signal, socket
all = [socket.socket(socket.AF_UNIX) for _ in range(28)]
for one in all:
    one.setblocking(False)
    one.connect_ex("control")
print("there", flush=True)
signal.pause()' > there &
    idle=$!
    until grep -qs there there; do turn; done
    kill -0 "$runner" || fail "it has ended: $(cat out)"
    end 0
    ;;
typo)
    printf '[a]\ncommand = exec tail -f /dev/null\n' > x.ini
    start x.ini
    until_said "a.1: starting -> ready"
    "$supervise" logs TYPO --socket control 2> err && fail "has logs of nobody"
    grep -q 'there is no service "TYPO"' err || fail "does not say who is not there"
    end 0
    ;;
log)
    cat > x.ini <<'END'
[a]
command = for i in 1 2 3 4 5 6; do echo line $i of the log; done
one_shot = yes
log = a.log
log_size = 64
log_keep = 2
END
    start x.ini
    until_said "a.1: ready -> exited\|a.1: starting -> exited"
    end 0
    [ "$(cat a.log* | wc -l)" = 6 ] || fail "lines: $(cat a.log*)"
    ;;
state)
    printf '[supervisor]\nstate = state\n[a]\ncommand = exec tail -f /dev/null\n' > x.ini
    start x.ini
    until_said "a.1: starting -> ready"
    "$supervise" run x.ini --socket other > second 2>&1 && fail "two with one state"
    grep -q "is that of process $runner, which lives" second || fail "does not say whose: $(cat second)"
    end 0
    ;;
*) fail "no such case: $2" ;;
esac
