# SPDX-License-Identifier: BSL-1.0
"""What the figures were measured on. No names, no paths."""

import os
import pathlib
import platform
import subprocess


def first_line(argv):
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=True)
        return done.stdout.splitlines()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        return "unknown"


def field(path, name):
    try:
        for line in pathlib.Path(path).read_text(encoding="utf-8").splitlines():
            key, _, value = line.replace("=", ":", 1).partition(":")
            if key.strip() == name:
                return value.strip().strip('"')
    except OSError:
        pass
    return "unknown"


def cached(directory, name):
    """A variable of the build."""
    try:
        for line in (directory / "CMakeCache.txt").read_text(encoding="utf-8").splitlines():
            if line.startswith(f"{name}:"):
                return line.partition("=")[2]
    except OSError:
        pass
    return "unknown"


def available_mib():
    return int(field("/proc/meminfo", "MemAvailable").split()[0]) // 1024


def load_average():
    return round(os.getloadavg()[0], 2)


def first_two_processors():
    """Where the two processes of the group `channel` are. Of a virtual machine that is its word."""
    try:
        path = pathlib.Path("/sys/devices/system/cpu/cpu0/topology/thread_siblings_list")
        siblings = path.read_text(encoding="utf-8").strip()
    except OSError:
        return "unknown"
    first, _, rest = siblings.partition("-") if "-" in siblings else siblings.partition(",")
    together = first == "0" and rest.split(",")[0].split("-")[0] == "1"
    return "two threads of one core" if together else "two cores"


def describe(source, build):
    compiler = cached(build, "CMAKE_CXX_COMPILER")
    return {
        "commit": first_line(["git", "-C", str(source), "describe", "--always", "--dirty"]),
        "processor": field("/proc/cpuinfo", "model name"),
        "processors": os.cpu_count(),
        "first_two_processors": first_two_processors(),
        "memory_mib": int(field("/proc/meminfo", "MemTotal").split()[0]) // 1024,
        "kernel": platform.release(),
        "system": field("/etc/os-release", "PRETTY_NAME"),
        "compiler": first_line([compiler, "--version"]),
        "build_type": cached(build, "CMAKE_BUILD_TYPE"),
    }
