# SPDX-License-Identifier: Apache-2.0
"""ARM wheels: cross-compiled, installed where no compiler is, and tested there under emulation.

    python -m tests.packaging.wheels.arm [--sdist FILE] [--only bookworm-arm64,...] [--tests tests/unit,...]

Needs root, Debian's apt, qemu-user-static; what is missing is said, and skipped.

What qemu is not: another processor's memory order (its threads run with this machine's, which is stricter), and
quick: ten to twenty times slower here. What it is: ARM's instructions, its alignment, unsigned char, its sizes of
structures at the border to the kernel, and for armv7l 32-bit sizes.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from tests.packaging.wheels import cross, proving
from tests.packaging.wheels.proving import Proof

# What is compiled, with little else. The others (--tests) have limits of time that emulation beside other work meets:
# of tests/network some tests of full queues failed so, which nobody has looked at one by one yet.
COMPILED = ("tests/unit", "tests/pgm")

# Of what the tests import there are no wheels for armv7l: there it is Debian's.
DEBIAN_TESTS = (
    "python3-attr",
    "python3-hypothesis",
    "python3-numpy",
    "python3-psutil",
    "python3-pydantic",
    "python3-pytest",
    "python3-pytest-benchmark",
    "python3-rich",
    "python3-typer",
    "python3-uvloop",
    "python3-zmq",
)

# Tests that are not run here, each with the reason. Everything else that is skipped says so itself (-ra).
LEFT_OUT = {
    "tests/paxos/test_exhaustive.py": "plain Python, nothing compiled: far more than 60 s when emulated",
    "tests/unit/test_vigil.py::test_quick_answers_are_waited_for_awake": "no answer is quick under emulation",
}

PROOFS = {
    proof.name: proof
    for proof in (
        Proof("bookworm", cross.AARCH64, COMPILED, left_out=tuple(LEFT_OUT)),
        Proof("trixie", cross.AARCH64, ("tests/unit",), left_out=tuple(LEFT_OUT)),
        Proof("forky", cross.AARCH64, ()),
        Proof("trixie", cross.ARMV7L, COMPILED, DEBIAN_TESTS, tuple(LEFT_OUT)),
    )
}


def prove(name: str, sdist: Path, tests: Sequence[str] | None) -> proving.Result:
    proof = PROOFS[name]
    return proving.prove_in_root(
        proof, lambda: cross.build(proof.target, proof.suite, sdist, proving.CACHE / "cross"), tests
    )


def main(words: Sequence[str] | None = None) -> int:
    return proving.main(__doc__, PROOFS, prove, words)


if __name__ == "__main__":
    sys.exit(main())
