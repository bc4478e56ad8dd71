# SPDX-License-Identifier: BSL-1.0
"""Who takes part in the group `supervisor`."""

import contenders

# bench_supervisor_NAME: what it is called in the result.
EXECUTABLES = {"procyard": "procyard", "raw": "raw pidfd + epoll"}


def find(directory):
    """As contenders.find."""
    found = []
    left_out = {}
    for executable, name in EXECUTABLES.items():
        path = directory / f"bench_supervisor_{executable}"
        if path.exists():
            found.append(contenders.Contender(name, [str(path)], ("tree",)))
        else:
            key = f"supervisor_{executable}"
            left_out[key] = contenders.reason(directory, key)
    return found, left_out
