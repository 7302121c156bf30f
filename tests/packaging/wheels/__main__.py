# SPDX-License-Identifier: Apache-2.0
"""`make wheels`: every wheel that can be built and proved here, from one sdist. What cannot is said, and skipped."""

import os
import subprocess
import sys

from tests.packaging.wheels.proving import CACHE, CHECKOUT, make_sdist

# In this order: what is soon over, and finds most, comes first.
STEPS = (
    ("the configuration of cibuildwheel", ("tests/packaging/wheels/identifiers.py",)),
    ("the sdist, without a network", ("tests/packaging/wheels/offline.py", "{sdist}")),
    ("other systems, compiled only", ("tests/packaging/wheels/elsewhere.py",)),
    ("x86_64", ("-m", "tests.packaging.wheels.x86_64", "--sdist", "{sdist}")),
    ("ARM", ("-m", "tests.packaging.wheels.arm", "--sdist", "{sdist}")),
)


def main() -> int:
    sdist = make_sdist(CACHE / "sdist")
    failed = []
    for what, words in STEPS:
        print(f"\n== wheels: {what}", flush=True)
        command = [sys.executable, *(word.format(sdist=sdist) for word in words)]
        environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
        if subprocess.run(command, cwd=CHECKOUT, env=environment).returncode:
            failed.append(what)
    if failed:
        print(f"\n== wheels: failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
