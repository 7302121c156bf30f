# SPDX-License-Identifier: Apache-2.0
"""A receiver that is read from instead of being called: the queue behind a stream."""

import asyncio
from collections import deque

from plexo._fast.books cimport tick
from plexo._fast.completion cimport Completion, Source, Target
from plexo._fast.inbox cimport Inbox
from plexo._fast.queues cimport BLOCK, REJECT
from plexo._fast.tasks cimport TaskPool
from plexo._fast.wake cimport wake
from plexo.statistics import Cause

cdef object REMOVED = Cause.REMOVED


cdef class Tap(Inbox):
    """Messages wait here for a reader, who may be in another thread. Knows nothing of the stream, so that dropping the stream can end it.

    A local sender is done when its message is in the queue; under `block`, when it has a place within the bound. A peer that
    asked to be told is told when its message is read.
    """

    cdef int offer(self, object data, object reaction_id, Completion completion, TaskPool pool,
                   Source source, object payload) except -1:
        cdef Completion kept = completion if completion is not None and completion.settled is not None else None
        cdef bint full = self.pending is not None and self.pending.full(0, 0)
        if self.ended:
            # By another thread, and the subscription is on its way out.
            tick(self.ledger.accepted)
            self.drop(REMOVED, kept, source)
            return 0 if completion is None or kept is not None else completion.one_done(None)
        if kept is None and completion is not None and self.queue.rule == REJECT and self.refuses():
            return completion.one_done(self.queue_full())
        self.enqueue(data, reaction_id, kept, source, payload)
        if completion is not None and kept is None:
            if full and self.queue.rule == BLOCK:
                if self.senders is None:
                    self.senders = deque()
                self.senders.append(completion)
            else:
                completion.one_done(None)
        if self.arrived is not None:
            self.wake_reader()
        if self.paused is not None or self.senders:
            # The reader may have been at it in another thread, and have seen nobody waiting.
            if self.ended:
                self.end()
            else:
                self.relieve()
        return 0

    cdef int wake_reader(self) except -1:
        arrived, self.arrived = self.arrived, None
        return 0 if arrived is None else wake(arrived)

    cdef int relieve(self) except -1:
        cdef Completion completion
        Inbox.relieve(self)
        while self.senders and (self.ended or not self.pending.full(-len(self.senders), 0)):
            completion = self.senders.popleft()
            completion.one_done(None)
        return 0

    cdef int drop_all(self, object cause) except -1:
        """Removed or closed: nothing more will come. What has come can still be read, see `discard`."""
        self.end()
        return 0

    cdef int cancel(self) except -1:
        self.end()
        return 0

    cdef Target forsake(self):
        # Reader and messages are the parent's.
        self.ended = self.forsaken = True
        self.pending = self.paused = self.senders = self.arrived = None
        return None

    def end(self):
        """Nothing more will come: wake up reader, senders and links."""
        cdef Source source
        self.ended = True
        if self.paused is not None:
            paused, self.paused = self.paused, None
            for source in paused:
                source.blocked -= 1
                if source.blocked == 0:
                    source.resume()
        self.relieve()
        self.wake_reader()

    def discard(self):
        """Nobody will read any more: drop what waits."""
        self.end()
        Inbox.drop_all(self, REMOVED)

    def __len__(self):
        return 0 if self.pending is None else self.pending.count

    def take(self):
        """The oldest message; IndexError where none waits."""
        cdef tuple entry
        cdef Completion completion
        if not self.any_pending():
            raise IndexError("nothing has arrived")
        entry = self.pending.pop()
        tick(self.ledger.delivered)
        if self.paused is not None or self.senders or self.dropping:
            self.relieve()
        completion = entry[3]
        if completion is not None:
            completion.one_done(None)
        return entry[1]

    def arrival(self):
        """A future that is done when something has arrived, or nothing more will. RuntimeError: somebody waits already."""
        if self.arrived is not None and not self.arrived.done():
            raise RuntimeError("a stream has one reader at a time")
        arrived = self.arrived = asyncio.get_running_loop().create_future()
        if self.any_pending() or self.ended:
            # Another thread was at it, and saw nobody waiting.
            self.wake_reader()
        return arrived
