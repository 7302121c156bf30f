# SPDX-License-Identifier: Apache-2.0
"""What the workflows call exists, and they may do as little as was meant. zizmor, in `make lint`, knows more."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
# `uses: owner/name@<commit> # v1.2.3`
PINNED = re.compile(r"uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")


def test_there_are_three() -> None:
    assert [path.stem for path in WORKFLOWS] == ["ci", "nightly", "wheels"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_make_has_every_target(path: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    variables = set(re.findall(r"^([A-Z]+) \?=", makefile, re.MULTILINE))
    calls = re.findall(r"\bmake ((?:\"[^\"]*\"|[^\n\"])*)", path.read_text(encoding="utf-8"))
    calls = [call for call in calls if not call.startswith("test` ")]  # a comment
    assert calls
    for call in calls:
        for word in re.sub(r"=(\"[^\"]*\"|\S+)", "=", call).split():
            if word.endswith("="):
                assert word[:-1] in variables | {"SECONDS"}, f"{path.name}: make has no {word}"
            elif not word.startswith(".venv/"):
                assert word in targets, f"{path.name}: make has no target {word}"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_and_jobs_may_do_little(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for line in text.splitlines():
        if "uses:" in line:
            assert PINNED.search(line), f"{path.name}: expected a commit and its version: {line.strip()}"
    assert re.search(r"^permissions: \{\}$", text, re.MULTILINE)
    jobs = re.split(r"^  (?=[a-z]+:$)", text[text.index("\njobs:") :], flags=re.MULTILINE)[1:]
    assert len(jobs) >= 3
    for job in jobs:
        name = job.partition(":")[0]
        granted = set(re.findall(r"^      ([a-z-]+: (?:read|write))\b", job, re.MULTILINE))
        meant = {"id-token: write", "attestations: write"} if name == "publish" else {"contents: read"}
        assert granted == meant, f"{path.name}, {name}: {granted}"
        assert job.count("actions/checkout@") == job.count("persist-credentials: false")
