#!/bin/bash
# SPDX-License-Identifier: BSL-1.0
# shellcheck disable=SC2317  # the functions are called by name
# inspect_tool_test.sh INSPECT SUBJECT CASE: runs procyard-inspect against a process whose channels are
# known, and looks at what it says.
set -u

inspect=$1
subject=$2
case_name=$3
directory=$(mktemp -d "${TMPDIR:-/tmp}/procyard-inspect.XXXXXX")
failures=0
pid=''

end() {
    [[ -z $pid ]] || exec {input}>&-
    [[ -z $pid ]] || wait "$pid"
    rm -rf "$directory"
}
trap end EXIT

fail() {
    echo "FAILED: $*"
    failures=$((failures + 1))
}

# expect CODE TEXT ARGUMENT…: the exit code, and a regular expression that the output must match
# (standard error included).
expect() {
    local code=$1 text=$2 output actual
    shift 2
    output=$("$inspect" "$@" 2>&1)
    actual=$?
    if [[ $actual != "$code" || ! $output =~ $text ]]; then
        fail "procyard-inspect $*"
        echo "  expected exit $code and: $text"
        echo "  got exit $actual and: $output"
    fi
}

# begin MODE: a process with channels; its number is in $pid, its first line in $first.
begin() {
    mkfifo "$directory/in" "$directory/out"
    "$subject" "$1" <"$directory/in" >"$directory/out" &
    pid=$!
    exec {input}>"$directory/in" {output}<"$directory/out"
    read -r -t 50 first <&"$output" || fail "the subject does not begin"
}
tell() {
    echo "$1" >&"$input"
    read -r -t 50 _ <&"$output" || fail "the subject does not answer"
}

test_channels() {
    begin within
    # Seven sent, two of them taken; room for sixteen.
    local common='"type": "tick", "unit": "message", "message_bytes": 16, "capacity": 16, "depth": 5'
    expect 0 "\"pid\": $pid, \"program\": \"inspect_subject\", \"name\": null, \"role\": \"sender\", $common, \"deepest\": 5, \"position\": 7, .*\"peers\": \\[$pid\\]" --once --json "$pid"
    expect 0 "\"role\": \"receiver\", $common, \"deepest\": 5, \"position\": 2, .*\"peers\": \\[$pid\\]" --once --json "$pid"
    expect 0 '"role": "sender", [^}]*"depth": null[^}]*"state": "no peer yet", "readers": null, "peers": \[\]' --once --json "$pid"
    expect 0 "PID PROGRAM .*$pid inspect_subj .*sender .*tick " --once "$pid"
    # The memory that is no channel is none.
    [[ $("$inspect" --once --json "$pid" | grep -c '"pid"') == 3 ]] || fail 'there are three ends'
    # Without a process: all, and this one among them.
    expect 0 "\"pid\": $pid" --once --json
    # And it lives, as if nothing had been.
    tell more
    expect 0 '"depth": 6' --once --json "$pid"
}

test_closed() {
    begin within
    tell close
    expect 0 '"role": "sender", [^}]*"depth": 5[^}]*"state": "closed"' --once --json "$pid"
    expect 0 '"role": "receiver", [^}]*"depth": 5[^}]*"state": "peer closed"' --once --json "$pid"
}

# Who has had to wait, and who has woken whom.
test_stalls() {
    begin within
    expect 0 '"role": "receiver", "type": "tick", [^}]*"dropped": 0, "stalls": 0, "stalls_per_second": null, "peer_stalls": 0, "rings": 0' --once --json "$pid"
    tell wait
    expect 0 '"role": "receiver", "type": "tick", [^}]*"stalls": 1, "stalls_per_second": null, "peer_stalls": 0, "rings": 0' --once --json "$pid"
    expect 0 '"role": "receiver", "type": "tick", [^}]*"stalls": 1, "stalls_per_second": 0,' --count 2 --interval 1ms --json "$pid"
    tell more
    expect 0 '"role": "sender", "type": "tick", [^}]*"stalls": 0, "stalls_per_second": null, "peer_stalls": 1, "rings": 1' --once --json "$pid"
    expect 0 'BYTES/S +LOST +STALLS STALLS/S +RINGS +SLEEPS' --once "$pid"
}

# Two processes: each is the other's peer.
test_rates() {
    begin child
    local child=${first#child }
    [[ $child =~ ^[0-9]+$ ]] || fail "no child: $first"
    # Records of 16 bytes: three letters, "three", "four", with 4 bytes of length, in records.
    expect 0 '"role": "sender", "type": "str", "unit": "byte", "message_bytes": null, "capacity": [0-9]+, "depth": [1-9][0-9]*' --count 2 --interval 1ms --json "$pid"
    expect 0 "\"messages_per_second\": null, \"bytes_per_second\": 0.*\"peers\": \\[$child\\]" --count 2 --interval 1ms --json "$pid"
    expect 0 "\"role\": \"receiver\".*\"peers\": \\[$pid\\]" --once --json "$child"
    expect 0 "\"pid\": $pid.*\"pid\": $child|\"pid\": $child.*\"pid\": $pid" --once --json "$pid" "$child"
}

# One who writes, one who has lost something, and one who holds the writer back.
test_broadcast() {
    begin broadcast
    local common='"type": "tick", "unit": "message", "message_bytes": 16, "capacity": 8'
    expect 0 "\"role\": \"writer\", $common, \"depth\": 8, \"deepest\": 8, \"position\": 28, .*\"dropped\": 0, \"stalls\": 1, .*\"state\": \"asleep\", \"readers\": 2, \"peers\": \\[$pid\\]" --once --json "$pid"
    expect 0 "\"role\": \"reader\", $common, \"depth\": 8, \"deepest\": 8, \"position\": 13, [^}]*\"dropped\": 10, \"stalls\": 0, [^}]*\"readers\": null, \"peers\": \\[$pid\\]" --once --json "$pid"
    expect 0 "\"role\": \"reader\", $common, \"depth\": 8, \"deepest\": 8, \"position\": 20, [^}]*\"dropped\": 0," --once --json "$pid"
    expect 0 'BYTES/S +LOST +STALLS .* writer +tick .* 0 +1 +- ' --once "$pid"
    expect 0 ' reader +tick .* 10 +0 +- ' --once "$pid"
    [[ $("$inspect" --once --json "$pid" | grep -c '"pid"') == 3 ]] || fail 'there are three ends'
}

test_none() {
    begin silent
    expect 0 '^\[\]$' --once --json "$pid"
    expect 0 '^no channels$' --once "$pid"
}

test_nobody() {
    true &
    local gone=$!
    wait "$gone"
    expect 1 "there is no process $gone" --once "$gone"
    expect 1 "there is no process $gone" "$gone"
    expect 1 'there is no process 2147483647' --once --json 2147483647
}

test_permission() {
    local other=(env)
    local stranger=1
    if [[ $EUID == 0 ]]; then
        begin within
        stranger=$pid
        chmod 755 "$directory"
        cp "$inspect" "$directory/tool"
        inspect=$directory/tool
        other=(setpriv --reuid=65534 --regid=65534 --clear-groups)
        "${other[@]}" "$inspect" --help >/dev/null 2>&1 || {
            echo 'skipped: nobody cannot run a copy of the tool'
            exit 77
        }
    elif [[ -r /proc/1/maps ]] && cat /proc/1/maps >/dev/null 2>&1; then
        echo 'skipped: every process may be looked into'
        exit 77
    fi
    local output
    output=$("${other[@]}" "$inspect" --once "$stranger" 2>&1) && fail 'it succeeded'
    [[ $output =~ 'may not be looked into by user' ]] || fail "it says: $output"
}

test_arguments() {
    expect 0 'Usage: ' --help
    expect 2 '--interval' --interval soon
    expect 2 'PID' nobody
    expect 2 'PID' -1
    expect 2 'PID' 0
    expect 2 '--count' --count 0
}

"test_$case_name"
exit $((failures != 0))
