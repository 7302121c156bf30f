# SPDX-License-Identifier: Apache-2.0
from plexo._fast.inbox cimport Inbox


cdef class Tap(Inbox):
    cdef readonly bint ended
    cdef readonly bint forsaken
    # The reader, where it waits; local senders that wait for it.
    cdef object arrived
    cdef object senders
    cdef int wake_reader(self) except -1
