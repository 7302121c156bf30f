# SPDX-License-Identifier: Apache-2.0
"""Every input that is kept for fuzzing, and every seed, through its target: on every Python, without atheris."""

from __future__ import annotations

import random

import pytest

from tests.fuzz import mutate
from tests.fuzz.registry import CORPUS, MAX_BYTES, TARGETS, corpus


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_the_corpus_finds_nothing(name: str) -> None:
    target = TARGETS[name]
    paths = corpus(name)
    assert paths, f"tests/fuzz/corpus/{name} is empty"
    for path in paths:
        try:
            target.run(path.read_bytes())
        except Exception as error:
            raise AssertionError(f"python -m tests.fuzz --target {name} --replay {path}") from error
    for seed in target.seeds():
        target.run(seed)


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_blind_mutations_find_nothing(name: str, rng: random.Random) -> None:
    """What runs where atheris has no wheel; so few that it costs nothing here."""
    target = TARGETS[name]
    known = [*target.seeds(), *(path.read_bytes() for path in corpus(name))]
    for _ in range(100):
        data = mutate.mutated(rng, known, target.words, MAX_BYTES)
        try:
            target.run(data)
        except Exception as error:
            raise AssertionError(f"{name}: {data!r}") from error


def test_the_corpus_is_small_and_all_of_it_is_used() -> None:
    assert sorted(path.name for path in CORPUS.iterdir()) == sorted(TARGETS)
    for name in TARGETS:
        assert all(path.stat().st_size <= 2048 for path in corpus(name))
        assert len(corpus(name)) <= 64
