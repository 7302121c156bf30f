# SPDX-License-Identifier: Apache-2.0
"""The journal: what it keeps, whom it lets in, and what it says about files it cannot use."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from plexo._proto.delivery import WINDOW_IDS
from plexo.exceptions import Closed, JournalError
from plexo.ganglion import journal as module
from plexo.ganglion.journal import MAX_STORED_MESSAGES, Journal

TIMEOUT_S = 20.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out.journal"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    opened = Journal(path)
    yield opened
    opened.close()


class Outcome:
    """A `done` to wait for."""

    def __init__(self) -> None:
        self._future: Future[JournalError | None] = Future()

    def __call__(self, error: JournalError | None) -> None:
        self._future.set_result(error)

    @property
    def known(self) -> bool:
        return self._future.done()

    def wait(self) -> JournalError | None:
        return self._future.result(TIMEOUT_S)


def store(journal: Journal, id: int, payload: bytes = b"payload") -> Outcome:
    outcome = Outcome()
    journal.store(id, b"topic", payload, outcome)
    return outcome


def delete(journal: Journal, id: int) -> Outcome:
    outcome = Outcome()
    journal.delete(id, outcome)
    return outcome


class Held:
    """Keeps the journal's thread busy until it is let go, so that wishes gather."""

    def __init__(self, journal: Journal) -> None:
        self._gate = threading.Event()
        began = threading.Event()

        def wait() -> None:
            began.set()
            self._gate.wait(TIMEOUT_S)

        journal._worker.submit(wait)
        began.wait(TIMEOUT_S)

    def let_go(self) -> None:
        self._gate.set()


# -- keeping -----------------------------------------------------------------------------------------------


def test_what_is_stored_is_there_in_the_next_life(path: Path) -> None:
    first = Journal(path)
    assert (first.next_id, first.restored) == (1, [])
    for id in (1, 2, 3):
        assert store(first, id, b"payload %d" % id).wait() is None
    assert delete(first, 2).wait() is None
    first.close()
    second = Journal(path)
    assert second.session == first.session
    assert second.next_id == 4
    assert [(row.id, row.topic, row.payload) for row in second.restored] == [
        (1, b"topic", b"payload 1"),
        (3, b"topic", b"payload 3"),
    ]
    assert all(row.stored_at > 1_600_000_000 for row in second.restored)
    second.close()


def test_numbers_are_never_used_twice(path: Path) -> None:
    first = Journal(path)
    store(first, 1)
    assert delete(first, 1).wait() is None
    first.close()
    second = Journal(path)
    assert (second.next_id, second.restored) == (2, [])
    second.close()


def test_each_file_has_a_session_of_its_own(tmp_path: Path) -> None:
    sessions = set()
    for name in ("a", "b"):
        journal = Journal(tmp_path / name)
        sessions.add(journal.session)
        journal.close()
    assert len(sessions) == 2


def test_closing_commits_what_was_asked_for(path: Path) -> None:
    journal = Journal(path)
    held = Held(journal)
    kept, removed = store(journal, 1), store(journal, 2)
    gone = delete(journal, 2)
    held.let_go()
    journal.close()
    assert kept.wait() is removed.wait() is gone.wait() is None
    again = Journal(path)
    assert [row.id for row in again.restored] == [1]
    again.close()


def test_commits_are_grouped(journal: Journal) -> None:
    statements: list[str] = []
    journal._connection.set_trace_callback(statements.append)
    held = Held(journal)
    outcomes = [store(journal, id) for id in range(1, 101)]
    held.let_go()
    assert all(outcome.wait() is None for outcome in outcomes)
    journal._connection.set_trace_callback(None)
    assert statements.count("COMMIT") == 1


def test_a_commit_is_forced_to_the_disk(journal: Journal) -> None:
    execute = journal._connection.execute
    assert execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert execute("PRAGMA synchronous").fetchone() == (2,)


# -- bounds ------------------------------------------------------------------------------------------------


def test_messages_are_bounded(journal: Journal) -> None:
    for id in range(1, MAX_STORED_MESSAGES + 1):
        last = store(journal, id, b"")
    assert not journal.has_room(0)
    with pytest.raises(JournalError, match="its bound"):
        store(journal, MAX_STORED_MESSAGES + 1)
    assert last.wait() is None
    assert delete(journal, 1).wait() is None
    assert journal.stored == MAX_STORED_MESSAGES - 1
    assert journal.has_room(0)


def test_bytes_are_bounded_and_an_empty_one_takes_any_message(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_STORED_BYTES", 100)
    assert journal.has_room(1000)
    assert store(journal, 1, b"x" * 45).wait() is None
    assert journal.has_room(50)
    assert not journal.has_room(51)
    assert store(journal, 2, b"x" * 45).wait() is None
    delete(journal, 1)
    assert delete(journal, 2).wait() is None
    assert journal.has_room(1000)


# -- whom it lets in ---------------------------------------------------------------------------------------


def test_another_process_cannot_open_it(journal: Journal) -> None:
    code = f"from plexo.ganglion.journal import Journal\nJournal({journal.path!r})"
    tried = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=TIMEOUT_S)
    assert "JournalError" in tried.stderr
    assert "in use by another process" in tried.stderr
    assert store(journal, 1).wait() is None


def test_nor_can_this_one_twice(path: Path, journal: Journal) -> None:
    assert store(journal, 1).wait() is None
    with pytest.raises(JournalError, match="in use by another process, or twice in this one"):
        Journal(path)
    assert store(journal, 2).wait() is None
    journal.close()
    again = Journal(path)
    assert [row.id for row in again.restored] == [1, 2]
    again.close()


def test_after_a_fork_the_child_does_not_touch_it(path: Path) -> None:
    """The child may use up, drop and finalise all it has: the parent's file stays whole."""
    code = f"""
import gc, os, sys
from concurrent.futures import Future
from plexo.exceptions import Closed
from plexo.ganglion.journal import Journal

def store(id):
    future = Future()
    journal.store(id, b"topic", b"payload", future.set_result)
    assert future.result(20) is None

journal = Journal({str(path)!r})
store(1)
child = os.fork()
if child == 0:
    try:
        store(2)
    except Closed as error:
        assert "forked" in str(error), error
    else:
        os._exit(3)
    journal.close()
    del journal
    gc.collect()
    sys.exit(0)  # with everything that an interpreter does at its end
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
store(2)
assert os.path.getsize(journal.path + "-wal") > 0
os._exit(0)
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, done.stderr
    again = Journal(path)
    assert [row.id for row in again.restored] == [1, 2]
    assert again._connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    again.close()


# -- files it cannot use -----------------------------------------------------------------------------------


def test_no_sqlite_file(path: Path) -> None:
    path.write_bytes(b"dear diary, " * 1000)
    with pytest.raises(JournalError, match="no journal of plexo, nor any SQLite file") as caught:
        Journal(path)
    assert caught.value.path == str(path)
    assert path.read_bytes() == b"dear diary, " * 1000


def test_somebody_elses_sqlite_file_is_left_as_it_is(path: Path) -> None:
    theirs = sqlite3.connect(path)
    theirs.execute("CREATE TABLE contacts (name)")
    theirs.commit()
    theirs.close()
    before = path.read_bytes()
    with pytest.raises(JournalError, match="no journal of plexo"):
        Journal(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("PRAGMA user_version = 2", "format 2, expected 1"),
        ("DELETE FROM sender", "no session"),
        ("UPDATE sender SET session = x'00'", "no session"),
        (f"INSERT INTO messages VALUES ({WINDOW_IDS + 1}, x'00', x'00', 0)", "messages 1 to 1025"),
        ("INSERT INTO messages VALUES (-1, x'00', x'00', 0)", "messages -1 to 1"),
        ("UPDATE messages SET payload = 'text'", "not bytes"),
        ("DROP TABLE messages", "SQLite cannot use it"),
    ],
)
def test_a_journal_that_somebody_has_changed(path: Path, statement: str, reason: str) -> None:
    journal = Journal(path)
    assert store(journal, 1).wait() is None
    journal.close()
    other = sqlite3.connect(path)
    other.execute(statement)
    other.commit()
    other.close()
    with pytest.raises(JournalError, match=reason):
        Journal(path)


def test_a_damaged_file(path: Path) -> None:
    journal = Journal(path)
    for id in range(1, 200):
        last = store(journal, id, bytes(1000))
    assert last.wait() is None
    journal.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:8192] + b"\xff" * (len(whole) - 8192))
    with pytest.raises(JournalError, match="damaged"):
        Journal(path)


def test_a_directory_and_a_place_that_is_not_there(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "missing" / "out.journal"):
        with pytest.raises(JournalError, match="cannot be opened or made there"):
            Journal(place)


@pytest.mark.parametrize("given", ["", ":memory:", b"bytes"])
def test_what_is_no_path(given: str) -> None:
    with pytest.raises(ValueError, match="journal: expected the path of a file"):
        Journal(given)


def test_a_relative_path_stays_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    journal = Journal("out.journal")
    assert journal.path == str(tmp_path / "out.journal")
    journal.close()


def test_a_full_disk_fails_the_message_and_not_the_journal(journal: Journal) -> None:
    pages = journal._connection.execute("PRAGMA page_count").fetchone()[0]
    journal._connection.execute(f"PRAGMA max_page_count = {pages + 2}")
    assert store(journal, 1, b"small").wait() is None
    error = store(journal, 2, bytes(100_000)).wait()
    assert error is not None
    assert "the disk is full" in str(error)
    assert journal.stored == 1
    assert store(journal, 3, b"small").wait() is None


def test_a_read_only_file_fails_the_message_and_keeps_the_deletion(journal: Journal) -> None:
    assert store(journal, 1).wait() is None
    journal._connection.execute("PRAGMA query_only = ON")
    error = store(journal, 2).wait()
    assert error is not None
    assert "read-only" in str(error)
    deletion = delete(journal, 1)
    assert store(journal, 3).wait() is not None
    assert not deletion.known
    assert journal.stored == 1
    journal._connection.execute("PRAGMA query_only = OFF")
    journal.retry()
    assert deletion.wait() is None
    assert journal.stored == 0


# -- end ---------------------------------------------------------------------------------------------------


def test_a_closed_one_takes_nothing_and_leaves_nothing(path: Path) -> None:
    journal = Journal(path)
    assert store(journal, 1).wait() is None
    assert any(thread.name.startswith("plexo-journal") for thread in threading.enumerate())
    journal.close()
    journal.close()
    assert not any(thread.name.startswith("plexo-journal") for thread in threading.enumerate())
    assert sorted(each.name for each in path.parent.iterdir()) == [path.name]
    for call in (lambda: store(journal, 2), lambda: delete(journal, 1), journal.retry):
        with pytest.raises(Closed):
            call()


def test_one_that_is_dropped_unlocks_the_file(path: Path) -> None:
    journal = Journal(path)
    del journal
    Journal(path).close()


def test_it_is_no_part_of_the_import() -> None:
    code = "import sys, plexo.ganglion.tcp_pair; sys.exit('sqlite3' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=TIMEOUT_S).returncode == 0


def test_its_path_may_be_bytes_of_the_file_system(tmp_path: Path) -> None:
    journal = Journal(tmp_path / os.fsdecode("zähler".encode()))
    journal.close()
