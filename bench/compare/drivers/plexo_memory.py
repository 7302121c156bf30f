# SPDX-License-Identifier: Apache-2.0
"""The resident memory of this process; run as a script it is the bare interpreter to compare with."""

import os


def resident_bytes() -> int:
    """Resident pages of this process now, shared ones included (Linux; elsewhere the peak)."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        # No /proc: the most this process ever had, in KiB (bytes on macOS).
        import resource
        import sys

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else 1024 * most


if __name__ == "__main__":
    print(f'{{"rss_bytes": {resident_bytes()}}}')
