# SPDX-License-Identifier: BSL-1.0
"""The driver of the benchmarks: bench/run.sh builds, this measures."""

import argparse
import json
import os
import pathlib
import re
import sys
import time

import channel_contenders
import contenders
import goals
import machine
import pool_contenders
import report
import rounds
import rows
import signal_contenders
import supervisor_contenders


def parse():
    parser = argparse.ArgumentParser(prog="bench/run.sh", description=__doc__)
    add = parser.add_argument
    results = "where the results go; what they were measured on goes to FILE.machine.json"
    add("--json", required=True, type=pathlib.Path, metavar="FILE", help=results)
    add("--only", choices=rows.GROUPS, metavar="NAME", help="one of " + ", ".join(rows.GROUPS))
    add("--rows", metavar="PATTERN", help="only rows whose name matches, e.g. 'static, 1 in'")
    add("--quick", action="store_true", help="fewer rows, fewer and shorter rounds: does it work?")
    add("--rounds", type=int, help="rounds per row and contender (7, quick 3)")
    realtime = "run under SCHED_FIFO (root): other work of the machine waits, and counts less"
    add("--realtime", action="store_true", help=realtime)
    add("--check", action="store_true", help="exit 1 when a goal is missed")
    add("--build", required=True, type=pathlib.Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def chosen_rows(arguments, directory):
    memory_mib = machine.available_mib()
    for name, group in rows.GROUPS.items():
        if arguments.only not in (None, name):
            continue
        for row in group(directory, arguments.quick):
            if not any(re.search(arguments.rows or "", f.row) for f in row.figures):
                continue
            if row.tag("two processors") and os.cpu_count() < 2:
                print(f"  left out, this machine has one processor: {row.figures[0].row}")
                continue
            # A fork copies page tables, and the other half belongs to whoever else is here.
            if row.memory_mib() * 1.5 > memory_mib:
                print(f"  left out, {memory_mib} MiB available: {row.figures[0].row}")
            else:
                yield row


def find_contenders(arguments, directory):
    found, left_out = [], {}
    own = {
        "channel": channel_contenders,
        "signal": signal_contenders,
        "pool": pool_contenders,
        "supervisor": supervisor_contenders,
    }
    for finder in (contenders, *own.values()):
        if arguments.only is None or finder is own.get(arguments.only, contenders):
            some, missing = finder.find(directory)
            found += some
            left_out |= missing
    return found, left_out


def write(path, value):
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def main():
    arguments = parse()
    directory = arguments.build / "bench"
    taking_part, left_out = find_contenders(arguments, directory)
    print("contenders: " + "; ".join(c.name for c in taking_part))
    for name, reason in left_out.items():
        print(f"left out: {name}: {reason}")

    if arguments.realtime:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))  # the contenders inherit it
    count = arguments.rounds or (3 if arguments.quick else 7)
    about = machine.describe(pathlib.Path(__file__).resolve().parent, arguments.build)
    about |= {"rounds": count, "quick": arguments.quick, "realtime": arguments.realtime}
    about |= {"only": arguments.only, "rows": arguments.rows}
    about |= {"left_out": left_out, "load_before": machine.load_average()}
    started = time.monotonic()
    results = []
    for row in chosen_rows(arguments, directory):
        row_results = rounds.measure(row, taking_part, count)
        report.print_row(row_results)
        results += row_results
    about |= {"load_after": machine.load_average(), "seconds": round(time.monotonic() - started)}

    write(arguments.json, results)
    write(arguments.json.with_name(arguments.json.name + ".machine.json"), about)
    complete = not (arguments.quick or arguments.only or arguments.rows)
    checks = goals.checks(results, complete)
    met = report.print_checks(checks, goals.left_out(results, complete))
    return 1 if arguments.check and not met else 0


if __name__ == "__main__":
    sys.exit(main())
