# SPDX-License-Identifier: BSL-1.0
"""Runs the rounds: A B C A B C …, so that what else the machine does hits all alike."""

import json
import statistics
import subprocess
import sys
import time

ROUND_SECONDS_MAX = 180
# A contender that is slow in a row gets fewer rounds there, three at least; `runs` says how many.
ROW_SECONDS_MAX = 60
ROUNDS_MIN = 3


def one_round(contender, row):
    """The figures of one round, or None and a word on stderr."""
    try:
        done = subprocess.run(
            contender.command_line(row),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=ROUND_SECONDS_MAX,
            check=False,
        )
    except subprocess.TimeoutExpired:
        complain(contender, row, f"took longer than {ROUND_SECONDS_MAX} s")
        return None
    if done.returncode != 0:
        complain(contender, row, done.stderr.strip() or f"exit {done.returncode}")
        return None
    return json.loads(done.stdout)


def complain(contender, row, what):
    print(f"  {contender.name} is left out of '{row.figures[0].row}': {what}", file=sys.stderr)


def measure(row, contenders, rounds):
    """All results of one row."""
    taking_part = [c for c in contenders if c.takes_part(row)]
    figures = {c.name: [] for c in taking_part}
    seconds = dict.fromkeys(figures, 0.0)
    for i in range(row.rounds or rounds):
        for contender in list(taking_part):
            if i >= ROUNDS_MIN and seconds[contender.name] > ROW_SECONDS_MAX:
                continue
            before = time.monotonic()
            figure = one_round(contender, row)
            seconds[contender.name] += time.monotonic() - before
            if figure is None:
                taking_part.remove(contender)  # once wrong, its other rounds are not to be trusted
                del figures[contender.name]
            else:
                figures[contender.name].append(figure)
    return [
        result(figure, name, [r[figure.key] for r in values if figure.key in r])
        for figure in row.figures
        for name, values in figures.items()
        if any(figure.key in r for r in values)
    ]


def result(figure, contender, values):
    return {
        "bench": figure.bench,
        "row": figure.row,
        "contender": contender,
        "unit": figure.unit,
        "median": rounded(statistics.median(values)),
        "min": rounded(min(values)),
        "max": rounded(max(values)),
        "runs": len(values),
    }


def rounded(value):
    return float(f"{value:.4g}")
