# SPDX-License-Identifier: BSL-1.0
"""Who takes part in the group `pool`."""

import subprocess
import sys

import contenders

# bench_pool_NAME: the contenders it has, as (name in the result, arguments).
# Spinning: an end that finds nothing to do looks again for 20 us before it sleeps.
SPINNING = {"spin_us": "20"}
# A request has all tasks of a window, as `batches` and `map in chunks` have in a message.
CHUNKS = {"way": "chunks"}
EXECUTABLES = {
    "procyard": (
        ("procyard", {}),
        ("procyard, spinning", SPINNING),
        ("procyard, requests of 64", CHUNKS),
        ("procyard, requests of 64, spinning", {**CHUNKS, **SPINNING}),
    ),
    "raw": (("raw channels", {}), ("raw channels, spinning", SPINNING)),
    "pipes": (
        ("fork + pipes, by hand", {}),
        ("fork + pipes, batches", {"way": "batches"}),
    ),
}
# Ways of pool_python.py: what is added to the version's name.
PYTHON = {"submit": "", "chunks": ", map in chunks of 64", "xargs": " -P", "parallel": ""}


def only_throughput(row):
    """Batches, and commands, are no way to have one answer soon."""
    return row.arguments["window"] > 1


def always(_row):
    return True


def python_contenders():
    script = [sys.executable, str(contenders.HERE / "contenders" / "pool_python.py")]
    for way, suffix in PYTHON.items():
        asked = subprocess.run(
            script + ["version", f"way={way}"], capture_output=True, text=True, check=False
        )
        if asked.returncode != 0:
            yield way, asked.stderr.strip()
            continue
        only_if = always if way == "submit" else only_throughput
        name = asked.stdout.strip() + suffix
        yield way, contenders.Contender(name, script, ("tasks",), {"way": way}, only_if)


def find(directory):
    """As contenders.find."""
    found = []
    left_out = {}
    for executable, entries in EXECUTABLES.items():
        path = directory / f"bench_pool_{executable}"
        if not path.exists():
            left_out[f"pool_{executable}"] = contenders.reason(directory, f"pool_{executable}")
            continue
        for name, arguments in entries:
            only_if = only_throughput if "way" in arguments else always
            found.append(
                contenders.Contender(name, [str(path)], ("tasks",), arguments, only_if)
            )
    for way, contender in python_contenders():
        if isinstance(contender, str):
            left_out[f"pool_{way}"] = contender
        else:
            found.append(contender)
    return found, left_out
