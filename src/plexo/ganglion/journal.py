# SPDX-License-Identifier: Apache-2.0
"""Unacknowledged messages on disk, so that they survive the death of their sender: one SQLite file for one pair.

What is durable when (WAL, synchronous=FULL: a commit returns after the disk has said that it has the pages):

* A message is sent only after the transaction with its row is committed. A process that dies before has sent nothing.
* An acknowledgement is durable once the row's deletion is committed. A process that dies in between finds the row when
  it starts again and sends the message once more, under the same session and number: a receiver that has lived on
  since drops the repeat, one that was restarted too reacts to it a second time.
* A number is never used twice in a file's life, also when every row is deleted (AUTOINCREMENT keeps the highest).

Commits are grouped: what is asked for while one is under way goes into the next, all of it in one transaction. They are
made on one thread that belongs to the journal and ends with it; the event loop never waits for the disk.

The file is locked as long as it is open, so two processes cannot send from it. SQLite's locks and its view of the file
do not survive a fork: in a child the journal refuses every call, and its connection is never closed, since closing
would write to the parent's file. Do not copy a journal and use both: two senders would say different things under one
number.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple
from weakref import WeakSet

from plexo._proto.delivery import MAX_ID, SESSION_BYTES, WINDOW_BYTES, WINDOW_IDS
from plexo.exceptions import Closed, JournalError

# The journal holds what one window holds: no more is ever unacknowledged.
MAX_STORED_MESSAGES: Final = WINDOW_IDS
MAX_STORED_BYTES: Final = WINDOW_BYTES
# "Plxo": tells our files from other programs' SQLite files.
APPLICATION_ID: Final = 0x506C786F
FORMAT: Final = 1
THREAD_NAME: Final = "plexo-journal"

_SCHEMA: Final = (
    "CREATE TABLE sender (session BLOB NOT NULL)",
    "CREATE TABLE messages (id INTEGER PRIMARY KEY AUTOINCREMENT, topic BLOB NOT NULL, payload BLOB NOT NULL, "
    "stored_at REAL NOT NULL)",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {FORMAT}",
)
# SQLite's texts, and what they mean to a user. Its error codes are in Python from 3.11 on only.
_MEANINGS: Final = (
    ("locked", "it is in use by another process, or twice in this one"),
    ("not a database", "it is no journal of plexo, nor any SQLite file"),
    ("malformed", "it is damaged"),
    ("readonly", "it is read-only"),
    ("disk is full", "the disk is full"),
    ("unable to open", "it cannot be opened or made there"),
)

Done = Callable[[JournalError | None], None]


class Stored(NamedTuple):
    """One unacknowledged message; `stored_at` in seconds since 1970."""

    id: int
    topic: bytes
    payload: bytes
    stored_at: float


class _Store(NamedTuple):
    row: Stored
    done: Done


class _Delete(NamedTuple):
    id: int
    done: Done


class Journal:
    """The file at `path`, made where there is none; JournalError says why it cannot be used.

    `session` and `next_id` are where the last life ended, `restored` what it left unacknowledged, in order.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._closed = True
        self._lock = threading.Lock()
        self._pid = os.getpid()
        given = os.fspath(path)
        if not isinstance(given, str) or not given or given == ":memory:":
            raise ValueError(f"journal: expected the path of a file, got {path!r}")
        # Another working directory later must not make it another file.
        self.path = str(Path(given).absolute())
        self._connection = self._opened()
        self._pending: list[_Store | _Delete] = []
        # Deletions that failed: the disk was full.
        self._undeleted: list[_Delete] = []
        self._working = False
        self._messages = len(self.restored)
        self._sizes = {row.id: _size(row) for row in self.restored}
        self._bytes = sum(self._sizes.values())
        self._worker = ThreadPoolExecutor(1, THREAD_NAME)
        self._finishing = False
        self._closed = False
        _open_journals.add(self)

    # -- opening -----------------------------------------------------------------------------------------------

    def _opened(self) -> sqlite3.Connection:
        try:
            connection = sqlite3.connect(self.path, timeout=0, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise self._error(error) from error
        try:
            self._prepare(connection)
        except sqlite3.Error as error:
            connection.close()
            raise self._error(error) from error
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        execute = connection.execute
        execute("PRAGMA locking_mode = EXCLUSIVE")
        # Look before anything is written: a file that is not ours must stay as it is.
        execute("BEGIN EXCLUSIVE")
        kind = execute("PRAGMA application_id").fetchone()[0]
        tables = execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        version = execute("PRAGMA user_version").fetchone()[0]
        execute("ROLLBACK")
        if tables and kind != APPLICATION_ID:
            raise JournalError(self.path, "it is an SQLite file, but no journal of plexo")
        if tables and version != FORMAT:
            raise JournalError(self.path, f"it has format {version}, expected {FORMAT}")
        mode = execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise JournalError(self.path, f"its file system allows no write-ahead log (journal mode {mode})")
        execute("PRAGMA synchronous = FULL")
        # Give disk space back after a burst.
        execute(f"PRAGMA journal_size_limit = {1 << 20}")
        execute("BEGIN EXCLUSIVE")
        if not tables:
            for statement in _SCHEMA:
                execute(statement)
            execute("INSERT INTO sender VALUES (?)", (secrets.token_bytes(SESSION_BYTES),))
        execute("COMMIT")
        self._read(connection)

    def _read(self, connection: sqlite3.Connection) -> None:
        execute = connection.execute
        sessions = execute("SELECT session FROM sender").fetchall()
        used = execute("SELECT seq FROM sqlite_sequence WHERE name = 'messages'").fetchone()
        rows = execute(
            "SELECT id, topic, payload, stored_at FROM messages ORDER BY id LIMIT ?",
            (MAX_STORED_MESSAGES + 1,),
        )
        self.restored = [Stored(*row) for row in rows]
        if len(sessions) != 1 or type(sessions[0][0]) is not bytes or len(sessions[0][0]) != SESSION_BYTES:
            raise JournalError(self.path, "it is damaged: no session of its own")
        self.session: bytes = sessions[0][0]
        self.next_id = (used[0] if used else 0) + 1
        ids = [row.id for row in self.restored]
        if ids and (
            ids[0] < 1 or ids[-1] - ids[0] >= WINDOW_IDS or self.next_id <= ids[-1] or ids[-1] > MAX_ID
        ):
            raise JournalError(
                self.path, f"it is damaged: messages {ids[0]} to {ids[-1]}, next {self.next_id}"
            )
        if not all(type(row.topic) is type(row.payload) is bytes for row in self.restored):
            raise JournalError(self.path, "it is damaged: a message that is not bytes")

    def _error(self, error: sqlite3.Error) -> JournalError:
        text = str(error)
        meaning = next((meaning for part, meaning in _MEANINGS if part in text), "SQLite cannot use it")
        return JournalError(self.path, f"{meaning} ({text})")

    # -- use ---------------------------------------------------------------------------------------------------

    @property
    def stored(self) -> int:
        """Messages in the file, those on their way in or out included."""
        return self._messages

    def has_room(self, size: int) -> bool:
        """Whether a message of so many bytes (topic and payload) may be stored; an empty journal takes any one."""
        if self._messages >= MAX_STORED_MESSAGES:
            return False
        return self._messages == 0 or self._bytes + size <= MAX_STORED_BYTES

    def store(self, id: int, topic: bytes, payload: bytes, done: Done) -> None:
        """Keep one message. On the journal's thread `done(None)` when it is committed, `done(error)` when that failed.

        JournalError: there is no room (ask `has_room`). Closed: it was closed, or is of the process we forked from.
        """
        row = Stored(id, topic, payload, time.time())
        self._require_open()
        if not self.has_room(_size(row)):
            raise JournalError(
                self.path, f"it holds {self._messages} messages with {self._bytes} bytes, which is its bound"
            )
        with self._lock:
            self._messages += 1
            self._bytes += _size(row)
            self._sizes[id] = _size(row)
            self._submit(_Store(row, done))

    def delete(self, id: int, done: Done) -> None:
        """Forget one message; `done(None)` when that is committed. Failed ones are tried again with later commits."""
        self._require_open()
        with self._lock:
            self._submit(_Delete(id, done))

    def retry(self) -> None:
        """Try failed deletions again now; for those who wait for room."""
        self._require_open()
        with self._lock:
            if self._undeleted and not self._working:
                self._working = True
                self._worker.submit(self._work)

    def _require_open(self) -> None:
        if os.getpid() != self._pid:
            raise Closed(f"journal {self.path} belongs to the process that this one was forked from")
        if self._closed:
            raise Closed(f"journal {self.path} is closed")

    def _submit(self, wish: _Store | _Delete) -> None:
        self._pending.append(wish)
        if not self._working:
            self._working = True
            self._worker.submit(self._work)

    # -- the worker's thread -----------------------------------------------------------------------------------

    def _work(self) -> None:
        first = True
        while True:
            with self._lock:
                batch, self._pending = self._pending, []
                if not batch and not (self._undeleted and first):
                    self._working = False
                    return
                batch, self._undeleted = [*self._undeleted, *batch], []
                first = False
            error = self._commit(batch)
            with self._lock:
                for wish in batch:
                    if isinstance(wish, _Delete):
                        if error is not None:
                            self._undeleted.append(wish)
                        else:
                            self._release(wish.id)
                    elif error is not None:
                        self._release(wish.row.id)
            for wish in batch:
                if error is None or isinstance(wish, _Store):
                    wish.done(error)

    def _release(self, id: int) -> None:
        size = self._sizes.pop(id, None)
        if size is not None:
            self._messages -= 1
            self._bytes -= size

    def _commit(self, batch: list[_Store | _Delete]) -> JournalError | None:
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(
                "INSERT INTO messages VALUES (?, ?, ?, ?)",
                [wish.row for wish in batch if isinstance(wish, _Store)],
            )
            connection.executemany(
                "DELETE FROM messages WHERE id = ?",
                [(wish.id,) for wish in batch if isinstance(wish, _Delete)],
            )
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            return self._error(error)
        return None

    # -- end ---------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Commit what was asked for, unlock the file, end the thread; what is stored stays. In a forked child: none.

        May be called again, also where it was broken off.
        """
        if os.getpid() != self._pid:
            return
        self._closed = True
        _open_journals.discard(self)
        if not self._finishing:
            # Behind everything that was asked for. Twice does no harm.
            self._worker.submit(self._finish)
            self._finishing = True
        # A finalizer may run on this very thread.
        self._worker.shutdown(wait=not threading.current_thread().name.startswith(THREAD_NAME))

    def _finish(self) -> None:
        if self._undeleted:
            self._commit([*self._undeleted])
        self._connection.close()

    def __del__(self) -> None:
        if not self._closed and os.getpid() == self._pid:
            # Not waiting: this may run on the worker's own thread.
            self._closed = True
            self._worker.shutdown(wait=False)
            self._connection.close()

    def __repr__(self) -> str:
        return f"<Journal {self.path}, {self._messages} messages>"


def _size(row: Stored) -> int:
    return len(row.topic) + len(row.payload)


# -- fork ------------------------------------------------------------------------------------------------------

_open_journals: WeakSet[Journal] = WeakSet()


def _leave_to_the_parent() -> None:
    """In a forked child: closing a connection, which the end of its object does too, would write to the file."""
    import ctypes

    for journal in _open_journals:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(journal._connection))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_the_parent)
