# SPDX-License-Identifier: BSL-1.0
"""Who takes part: one executable per library, a fresh process per round."""

import dataclasses
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent.parent


@dataclasses.dataclass
class Contender:
    name: str  # as in the result: procyard, raw, or the peer's name and version
    argv: list[str]
    commands: tuple[str, ...]
    arguments: dict[str, str] = dataclasses.field(default_factory=dict)
    # Rows about the order of things, or about settings, are not every contender's business.
    only_if: object = lambda row: True

    def takes_part(self, row):
        return row.command in self.commands and self.only_if(row)

    def command_line(self, row):
        pairs = {**row.arguments, **self.arguments}
        return self.argv + [row.command] + [f"{key}={value}" for key, value in pairs.items()]


def glibc():
    return os.confstr("CS_GNU_LIBC_VERSION") or "libc"


def procyard_contenders(procyard):
    coroutine = {"style": "coroutine"}
    run = {"style": "async_run"}
    one_by_one = {"style": "async_read_line"}
    only_defaults = lambda row: row.tag("defaults")
    streams = ("stdout", "copy", "lines")
    return [
        Contender("procyard", [procyard], ("spawn", "children", "allocations") + streams),
        Contender("procyard, coroutine", [procyard], ("children", "allocations"), coroutine),
        Contender("procyard, async_run", [procyard], ("stdout",), run, only_defaults),
        Contender("procyard, async_read_line", [procyard], ("lines",), one_by_one),
    ]


def raw_contenders(raw):
    order_matters_not = lambda row: not row.tag("descriptors first")
    return [
        Contender("raw", [raw], ("spawn", "children", "stdout", "copy", "lines")),
        Contender("raw, shared table", [raw], ("spawn",), {"mechanism": "shared_table"}),
        Contender("raw, same promises", [raw], ("spawn",), {"mechanism": "promises"}),
        # Of many in flight the one above waits by epoll, too.
        Contender(
            "raw, same promises, epoll",
            [raw],
            ("spawn",),
            {"mechanism": "promises", "wait": "epoll"},
            lambda row: row.arguments["in_flight"] == 1,
        ),
        Contender("fork+exec", [raw], ("spawn",), {"mechanism": "fork"}, order_matters_not),
        Contender(
            f"posix_spawn ({glibc()})",
            [raw],
            ("spawn",),
            {"mechanism": "posix_spawn"},
            order_matters_not,
        ),
        Contender("raw, epoll", [raw], ("copy",), {"mechanism": "epoll"}),
        Contender("raw read+write", [raw], ("copy",), {"mechanism": "read_write"}),
    ]


def peers():
    """name of the executable, its command line before the build directory is known, commands"""
    common = ("spawn", "children", "stdout")
    return [
        ("boost_process", None, common + ("copy", "allocations")),
        ("libuv", None, common + ("allocations",)),
        ("tokio", None, common + ("copy", "lines")),
        (
            "python_subprocess",
            [sys.executable, str(HERE / "contenders" / "python_subprocess.py")],
            common + ("copy", "lines"),
        ),
    ]


def peer_takes_part(name):
    def only_if(row):
        if row.tag("descriptors first"):
            return False  # it makes no difference to them
        if row.tag("socket"):
            return name == "libuv"  # its stdio is a socketpair already
        return True

    return only_if


def version_of(argv):
    output = subprocess.run(argv + ["version"], capture_output=True, text=True, check=True)
    return output.stdout.strip()


def find(directory):
    """Who was built into `directory`, and {name: reason} for those who were not."""
    found = []
    left_out = {}
    found += procyard_contenders(str(directory / "bench_procyard"))
    found += raw_contenders(str(directory / "bench_raw"))
    for name, argv, commands in peers():
        argv = argv or [str(directory / f"bench_{name}")]
        try:
            found.append(Contender(version_of(argv), argv, commands, {}, peer_takes_part(name)))
        except (OSError, subprocess.CalledProcessError):
            left_out[name] = reason(directory, name)
    return found, left_out


def reason(directory, name):
    path = directory / "left-out" / f"{name}.txt"
    return path.read_text().strip() if path.exists() else "it was not built"
