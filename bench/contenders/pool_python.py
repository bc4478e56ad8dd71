#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Python's ProcessPoolExecutor, and xargs and GNU parallel, where a task is a command.

The same rounds as the C++ contenders.
"""

import concurrent.futures
import json
import platform
import shutil
import statistics
import subprocess
import sys
import time


def answer(request):
    return request[:-1] + b"\1"


def submit(options, executor, request):
    """Submits each task, and keeps as many in the pool as the row says."""
    window = int(options["window"]) * int(options["workers"])
    until = time.monotonic() + float(options["seconds"])
    trips = []
    count = 0
    started = time.monotonic()
    if window == 1:
        while time.monotonic() < until:
            before = time.monotonic()
            executor.submit(answer, request).result()
            trips.append(time.monotonic() - before)
        trips.sort()
        figures = {
            "p50_us": statistics.median(trips) * 1e6,
            "p99_us": trips[int(0.99 * (len(trips) - 1))] * 1e6,
        }
        return len(trips), time.monotonic() - started, figures
    pending = {executor.submit(answer, request) for _ in range(window)}
    while pending:
        done, pending = concurrent.futures.wait(
            pending, return_when=concurrent.futures.FIRST_COMPLETED
        )
        count += len(done)
        if time.monotonic() < until:
            pending |= {executor.submit(answer, request) for _ in done}
    return count, time.monotonic() - started, {}


def chunks(options, executor, request):
    """Sends 64 tasks as one, as executor.map() does when it is asked to."""
    count = 0
    started = time.monotonic()
    while time.monotonic() < started + float(options["seconds"]):
        count += sum(1 for _ in executor.map(answer, [request] * 6400, chunksize=64))
    return count, time.monotonic() - started, {}


def executor_round(options, way):
    with concurrent.futures.ProcessPoolExecutor(int(options["workers"])) as executor:
        request = bytes(64)
        list(executor.map(answer, [request] * 64))
        return way(options, executor, request)


def command_round(argv):
    """A task is an argument, and the worker a process that is started for it."""

    def run(options, tasks=400):
        numbers = "".join(f"{n:063}\n" for n in range(tasks)).encode()
        full = [part.format(workers=options["workers"]) for part in argv] + [options["program"]]
        started = time.monotonic()
        subprocess.run(full, input=numbers, stdout=subprocess.DEVNULL, check=True)
        return tasks, time.monotonic() - started, {}

    return run


WAYS = {
    "submit": lambda options: executor_round(options, submit),
    "chunks": lambda options: executor_round(options, chunks),
    "xargs": command_round(["xargs", "-P", "{workers}", "-n", "1"]),
    "parallel": command_round(["parallel", "--will-cite", "-j", "{workers}"]),
}


def version(way):
    if way in ("submit", "chunks"):
        return f"Python {platform.python_version()} ProcessPoolExecutor"
    if shutil.which(way) is None:
        sys.exit(f"there is no {way}")
    output = subprocess.run([way, "--version"], capture_output=True, text=True, check=True).stdout
    return f"{'GNU ' if way == 'parallel' else ''}{way} {output.splitlines()[0].split()[-1]}"


def main():
    command, *pairs = sys.argv[1:]
    options = dict(pair.split("=", 1) for pair in pairs)
    way = options.get("way", "submit")
    if command == "version":
        print(version(way))
        return
    count, seconds, figures = WAYS[way](options)
    print(json.dumps({"ns": seconds * 1e9 / count} | figures))


if __name__ == "__main__":
    main()
