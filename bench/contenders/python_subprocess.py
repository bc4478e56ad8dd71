#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Python's subprocess, as its documentation uses it: Popen, wait, read.

The same rounds as the C++ contenders.
"""

import collections
import fcntl
import io
import json
import mmap
import os
import platform
import resource
import signal
import subprocess
import sys
import time

HELD = []


def now_us():
    return time.monotonic_ns() / 1e3


def hold_memory(mib):
    if mib <= 0:
        return
    memory = mmap.mmap(-1, mib << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    for block in range(0, mib << 20, 1 << 20):
        memory[block : block + (1 << 20) : 4096] = b"\1" * 256
    HELD.append(memory)


def hold_descriptors(count):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    HELD.extend(os.eventfd(0, os.EFD_CLOEXEC) for _ in range(count))


def pin_to(processor):
    if processor < os.cpu_count():
        os.sched_setaffinity(0, {processor})


def anonymous_bytes():
    with open("/proc/self/smaps_rollup", encoding="ascii") as rollup:
        return next(int(line.split()[1]) for line in rollup if line.startswith("Anonymous:")) * 1024


def spawn(options):
    program = [options.get("program", "/bin/true")]
    hold_memory(int(options.get("memory_mib", 0)))
    subprocess.Popen(program).wait()
    hold_descriptors(int(options.get("descriptors", 0)))
    in_flight = int(options.get("in_flight", 1))
    seconds = float(options.get("seconds", 0.3))

    alive = collections.deque()
    count = 0
    in_calls_us = 0
    started_us = now_us()
    while True:
        before_us = now_us()
        more = before_us < started_us + seconds * 1e6 or count < 4
        if more:
            alive.append(subprocess.Popen(program))
            count += 1
            in_calls_us += now_us() - before_us
        if not alive:
            break
        if not more or len(alive) == in_flight:
            if alive.popleft().wait() != 0:
                sys.exit("the child failed")
    return {
        "us": (now_us() - started_us) / count,
        "call_us": in_calls_us / count,
        "children": count,
    }


def children(options):
    program = [options["program"]]
    count = int(options["count"])
    hold_descriptors(0)
    alive = [None] * count
    before = anonymous_bytes()
    started_us = now_us()
    for i in range(count):
        alive[i] = subprocess.Popen(program)
    spawned_us = now_us()
    after = anonymous_bytes()

    kill_started_us = now_us()
    for process in alive:
        process.send_signal(signal.SIGKILL)
    for process in alive:
        process.wait()
    killed_us = (now_us() - kill_started_us) / count

    alive = [subprocess.Popen(program) for _ in range(min(count, 500))]
    for process in alive:
        process.send_signal(signal.SIGKILL)
    for process in alive:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    reap_started_us = now_us()
    for process in alive:
        process.wait()
    reap_us = (now_us() - reap_started_us) / len(alive)
    # No event loop, so nothing sees one exit among many.
    return {
        "bytes": (after - before) / count,
        "call_us": (spawned_us - started_us) / count,
        "killed_us": killed_us,
        "reap_us": reap_us,
    }


def start_writer(options, kind):
    """Unbuffered: a BufferedReader would copy 8 KiB at a time."""
    command = [options["child"], kind, f"bytes={options['bytes']}", "processor=1"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0)
    enlarge(child.stdout, options)
    return child


def enlarge(pipe, options):
    pipe_bytes = int(options.get("pipe_bytes", 0))
    if pipe_bytes:
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, pipe_bytes)


def read_bytes(options):
    return int(options.get("read_bytes", 65536))


def rate(options, total, started_us, *children):
    if total != int(options["bytes"]) or any(child.wait() != 0 for child in children):
        sys.exit("not every byte came through")
    return {"gb_per_s": total / (now_us() - started_us) / 1e3}


def stdout(options):
    pin_to(0)
    started_us = now_us()
    child = start_writer(options, "write")
    total = 0
    buffer = bytearray(read_bytes(options))
    while n := child.stdout.readinto(buffer):
        total += n
    return rate(options, total, started_us, child)


def copy(options):
    pin_to(0)
    started_us = now_us()
    child = start_writer(options, "write")
    command = [options["child"], "sink", "processor=1"]
    sink = subprocess.Popen(command, stdin=subprocess.PIPE, bufsize=0)
    enlarge(sink.stdin, options)
    total = 0
    buffer = memoryview(bytearray(read_bytes(options)))
    while n := child.stdout.readinto(buffer):
        total += n
        rest = buffer[:n]
        while rest:
            rest = rest[sink.stdin.write(rest) :]
    sink.stdin.close()
    return rate(options, total, started_us, child, sink)


def lines(options):
    pin_to(0)
    started_us = now_us()
    child = start_writer(options, "lines")
    total = 0
    for line in io.BufferedReader(child.stdout, read_bytes(options)):
        total += len(line)
    return rate(options, total, started_us, child)


def main():
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    options = dict(argument.split("=", 1) for argument in sys.argv[2:])
    rounds = (spawn, children, stdout, copy, lines)
    commands = {function.__name__: function for function in rounds}
    if command == "version":
        print(f"Python {platform.python_version()} subprocess")
    elif command in commands:
        print(json.dumps(commands[command](options)))
    else:
        sys.exit("python_subprocess.py version | spawn | children | stdout | copy | lines")


if __name__ == "__main__":
    main()
