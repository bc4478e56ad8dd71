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
# FILE PID: the process, or one that it has started, has written something there.
until_file() {
    local tries=0
    until [ -s "$1" ]; do
        tries=$((tries + 1))
        [ $tries -lt 2000 ] || fail "never there: $1"
        kill -0 "$2" 2> /dev/null || [ -s "$1" ] || fail "ended without $1"
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
    printf '[supervisor]\nstate = state\nguardian = no\n[a]\ncommand = setsid tail -f /dev/null & echo $! > daemon.pid; env -i tail -f /dev/null & echo $! > bare.pid; echo $$ > pid.new; mv pid.new pid; exec tail -f /dev/null\nlisten = http:%s\nready = line never\n[b]\ncommand = exec tail -f /dev/null\n' $port > x.ini
    for _ in 1 2 3; do
        start x.ini
        until_said "b.1: starting -> ready"
        until_file pid "$runner"
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
guarded)
    # No state directory, and nobody who comes next.
    printf '[a]\ncommand = setsid tail -f /dev/null & echo $! > daemon.pid; echo $$ > pid.new; mv pid.new pid; exec tail -f /dev/null\n' > x.ini
    start x.ini
    until_said "a.1: starting -> ready"
    until_file pid "$runner"
    read -r first < pid
    read -r daemon < daemon.pid
    kill -0 "$daemon" || fail "the daemon has died by itself: nothing is tested"
    kill -9 "$runner"
    wait "$runner" 2> /dev/null || :
    runner=
    for pid in $first $daemon; do
        tries=0
        while kill -0 "$pid" 2> /dev/null && ! grep -qs '^State:.*Z' "/proc/$pid/status"; do
            tries=$((tries + 1))
            [ $tries -lt 2000 ] || fail "$pid lives on"
            turn
        done
    done
    rm -f pid daemon.pid  # their numbers may be others' by now
    ;;
clients)
    printf '[a]\ncommand = exec tail -f /dev/null\n' > x.ini
    ulimit -n 37
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
again)
    # As a service that takes its time says: asked once more, it is not waited for.
    cat > x.ini <<'END'
[supervisor]
stop_budget = 10m
[a]
command = trap '' TERM; echo $$ > pid.new; mv pid.new pid; exec tail -f /dev/null
grace = 10m
END
    for second in INT TERM; do
        start x.ini
        until_said "a.1: starting -> ready"
        until_file pid "$runner"
        read -r first < pid
        # Both that one hears of when a terminal goes.
        kill -HUP "$runner"
        until_said "a.1: ready -> stopping"
        kill -HUP "$runner"
        "$supervise" status --socket control | grep -q '^a  *stopping' || fail "the second SIGHUP has hastened it"
        kill -0 "$first" || fail "it was not to die of SIGHUP to the runner"
        kill -$second "$runner"
        wait "$runner" || :
        runner=
        # Dead, though whoever has inherited it may not have reaped it yet.
        ! kill -0 "$first" 2> /dev/null || grep -qs '^State:.*Z' "/proc/$first/status" || ! kill -0 "$first" 2> /dev/null || fail "it lives after SIG$second"
        rm pid
        [ ! -e control ] || fail "leaves its socket"
    done
    ;;
full)
    # A disk that is full loses lines, and the table says how many: none that could be an age.
    cat > x.ini <<'END'
[a]
command = i=0; while [ $i -lt 137 ]; do echo line; i=$((i + 1)); done; echo all; exec tail -f /dev/null
ready = line all
log = /dev/full
END
    start x.ini
    until_said "a.1: starting -> ready"
    until "$supervise" status --socket control | grep -q '^a  *ready .* 138 *$'; do turn; done
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
follow)
    mkfifo feed
    printf '[a]\ncommand = exec cat <> feed\n' > x.ini
    start x.ini
    until_said "a.1: starting -> ready"
    before=$(find "/proc/$runner/fd" -type l | wc -l)
    echo one > feed
    until "$supervise" logs a --socket control | grep -q '^  one$'; do turn; done
    "$supervise" logs a --follow --socket control > seen &
    idle=$!
    until grep -qs '^  one$' seen; do turn; done
    for word in two three; do
        echo $word > feed
        until grep -q "^  $word\$" seen; do turn; done
    done
    kill -9 "$idle"
    wait "$idle" 2> /dev/null || :
    idle=
    # Although nothing is ever written again that would fail.
    until [ "$(find "/proc/$runner/fd" -type l | wc -l)" -le "$before" ]; do turn; done
    "$supervise" logs b -f --socket control 2> err && fail "follows nobody"
    grep -q 'there is no service "b"' err || fail "does not say who is not there"
    "$supervise" logs a -f --socket control > late &
    idle=$!
    until grep -qs '^  three$' late; do turn; done
    [ "$(cat late)" = "$(printf '  one\n  two\n  three')" ] || fail "late: $(cat late)"
    end 0
    wait "$idle" || fail "a follower whose runner has ended fails"
    idle=
    ;;
follow_slow)
    # What is freed is freed, also where AddressSanitizer would keep it for a while.
    export ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}quarantine_size_mb=1"
    printf '[a]\ncommand = yes 0123456789012345678901234567890123456789\n[b]\ncommand = exec tail -f /dev/null\n' > x.ini
    start x.ini
    until_said "a.1: starting -> ready"
    # They ask, and do not read; one more than there are places for such.
    python3 -c '
import signal, socket
all = [socket.socket(socket.AF_UNIX) for _ in range(9)]
for one in all:
    one.connect("control")
    one.sendall(b"follow a\n")
said = [one.recv(3) for one in all]
print(sorted(said) == [b"err"] + 8 * [b"ok\n"] or said, flush=True)
signal.pause()' > there &
    idle=$!
    until_file there "$idle"
    [ "$(cat there)" = True ] || fail "said: $(cat there)"
    # What they have not read stands in their sockets, and nowhere else.
    memory() {
        awk '/^VmRSS/ { print $2 }' "/proc/$runner/status"
    }
    before=$(memory)
    for _ in $(seq 50); do
        "$supervise" status --socket control > seen || fail "no answer beside slow ones"
        turn
    done
    after=$(memory)
    [ "$after" -lt $((before + 16384)) ] || fail "grows from $before to $after KiB"
    "$supervise" restart b --socket control || fail "is not obeyed"
    until_said "b.2: starting -> ready"
    end 0
    ;;
terminal)
    # The view that is drawn anew: in a terminal of 12 lines and 60 columns.
    printf '[a]\ncommand = exec tail -f /dev/null\n[b]\ncommand = exec tail -f /dev/null\ndepends_on = a\n' > x.ini
    cat > view.py <<'END'
import fcntl, os, pty, re, select, signal, struct, subprocess, sys, termios
supervise = sys.argv[1]
pid, fd = pty.fork()
if pid == 0:
    os.execv(supervise, [supervise, "run", "x.ini", "--socket", "control"])
fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 12, 60, 0, 0))
seen = b""
def read():
    global seen
    if not select.select([fd], [], [], 50)[0]:
        sys.exit("FAILED: nothing comes any more: %r" % seen[-2000:])
    try:
        more = os.read(fd, 65536)
    except OSError:
        more = b""
    seen += more
    return more
def screen():
    return seen.rsplit(b"\x1b[H\x1b[J", 1)[-1].decode()
def until(pattern):
    while not re.search(pattern, screen(), re.M):
        if not read():
            sys.exit("FAILED: never shown: %s: %r" % (pattern, seen[-2000:]))
until(r"^b +ready +[0-9]+")
drawn = seen.count(b"\x1b[H\x1b[J")
if drawn < 4:
    sys.exit("FAILED: drawn %d times" % drawn)
ask = lambda *words: subprocess.run([supervise, *words, "--socket", "control"], check=True)
for turn in range(2, 8):
    ask("restart", "b")
    until(r"^b +ready +[0-9]+(.|\r|\n)* b\.%d: starting -> ready" % turn)
lines = screen().replace("\r", "").split("\n")
if not lines[0].startswith("service ") or not lines[1].startswith("a ") or lines[3] != "":
    sys.exit("FAILED: no table: %r" % lines)
if len(lines) > 12 or max(map(len, lines)) > 60:
    sys.exit("FAILED: more than the terminal has: %r" % lines)
ask("stop", "b")
until(r"^b +exited")
os.kill(pid, signal.SIGINT)
while read():
    pass
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
END
    python3 view.py "$supervise" > out 2>&1 || fail "the view"
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
probes)
    # Not ready before a server says so, and stopped when a command says that it is not healthy.
    python3 -c '
import http.server, os
class answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        good = self.path == "/ready" and os.path.exists("up")
        self.send_response(204 if good else 503)
        self.end_headers()
    def log_message(self, *what):
        print(*what, file=open("asked", "a"))
server = http.server.HTTPServer(("127.0.0.1", 0), answers)
print(server.server_address[1], flush=True)
server.serve_forever()' > port &
    idle=$!
    until_file port "$idle"
    cat > x.ini <<END
[a]
command = exec tail -f /dev/null
restart = never
ready = http://localhost:$(cat port)/ready
env.WHERE = sick
health = command ! [ -e "\$WHERE" ]
health_interval = 20ms
health_failures = 2
health_timeout = 50s
END
    start x.ini
    until_file asked "$runner"
    grep -q "ready$" out && fail "is ready before it says so"
    touch up
    until_said "a.1: starting -> ready"
    touch sick
    until_said "a.1: ready -> stopping (it is not healthy)"
    until_said "a.1: stopping -> failed"
    end 0
    ;;
*) fail "no such case: $2" ;;
esac
