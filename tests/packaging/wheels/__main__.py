# SPDX-License-Identifier: Apache-2.0
"""`make wheels`: every wheel that can be built and proved here, from one sdist. What cannot is said, and skipped."""

import os
import subprocess
import sys

from tests.packaging.wheels import aarch64

# In this order: what is soon over, and finds most, comes first.
STEPS = (
    ("the configuration of cibuildwheel", ("tests/packaging/wheels/identifiers.py",)),
    ("the sdist, without a network", ("tests/packaging/wheels/offline.py", "{sdist}")),
    ("other systems, compiled only", ("tests/packaging/wheels/elsewhere.py",)),
    ("x86_64", ("-m", "tests.packaging.wheels.x86_64", "--sdist", "{sdist}")),
    ("ARM", ("-m", "tests.packaging.wheels.aarch64", "--sdist", "{sdist}")),
)


def main() -> int:
    sdist = aarch64.make_sdist(aarch64.CACHE / "sdist")
    failed = []
    for what, words in STEPS:
        print(f"\n== wheels: {what}", flush=True)
        command = [sys.executable, *(word.format(sdist=sdist) for word in words)]
        environment = {**os.environ, "PYTHONPATH": str(aarch64.CHECKOUT)}
        if subprocess.run(command, cwd=aarch64.CHECKOUT, env=environment).returncode:
            failed.append(what)
    if failed:
        print(f"\n== wheels: failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
