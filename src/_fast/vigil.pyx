# SPDX-License-Identifier: Apache-2.0
"""Staying awake for the next message: to be woken costs more than everything else about a lone one.

Only a turn of the event loop is asked for, again and again, so that whatever else it serves gets its turns too.

Where the user says nothing, the loop stays awake only after a message was sent, only for as long as answers take that
are worth it, and only where the last ones came so quickly; one vain vigil ends that, and from then on four times as many
quick answers are needed to try again. So one who only receives or only sends never stays awake, and neither does one
whose peer needs the very core that the vigil keeps busy. (The Linux kernel's guests poll before they halt by a like rule.)
"""

from plexo._fast.wake cimport monotonic

# An answer that takes longer is not waited for awake.
ANSWER_S = 200e-6
FIRST_NEEDED = 8
MOST_NEEDED = 4096
# So many quick answers in a row, and vain vigils of before are forgotten.
FORGIVEN_AFTER = 1024

cdef double _answer_s = ANSWER_S
cdef unsigned int _first_needed = FIRST_NEEDED
cdef unsigned int _most_needed = MOST_NEEDED
cdef unsigned int _forgiven_after = FORGIVEN_AFTER


cdef class Vigil:
    def __cinit__(self, double fixed_s):
        self.fixed_s = fixed_s
        self.needed = _first_needed

    cdef int sent(self, double now, object loop) except -1:
        """A message goes out."""
        if self.fixed_s > 0:
            return self.stay(now + self.fixed_s, loop)
        if self.fixed_s < 0:
            self.asked_at = now
            self.expecting = True
            if self.willing:
                return self.stay(now + _answer_s, loop)
        return 0

    cdef int received(self, double now, object loop) except -1:
        """Something came; called before anybody reacts to it."""
        if self.fixed_s > 0:
            return self.stay(now + self.fixed_s, loop)
        # What is awaited is here. Who answers it asks anew.
        self.until = 0
        if not self.expecting:
            return 0
        self.expecting = False
        if now - self.asked_at >= _answer_s:
            self.quick = 0
            return 0
        self.quick += 1
        if self.quick >= self.needed:
            self.willing = True
        if self.quick >= _forgiven_after:
            self.needed = _first_needed
        return 0

    cdef int stay(self, double until, object loop) except -1:
        self.until = until
        if self.handle is None and loop is not None:
            self.loop = loop
            self.handle = loop.call_soon(self.go_on)
        return 0

    def go_on(self):
        """One turn of the loop is over."""
        self.handle = None
        if self.until == 0 or self.loop is None:
            return
        if monotonic() < self.until:
            self.handle = self.loop.call_soon(self.go_on)
        elif self.fixed_s < 0:
            # In vain.
            self.until = 0
            self.willing = False
            self.quick = 0
            self.needed = min(<unsigned int>4 * self.needed, _most_needed)

    cdef int end(self) except -1:
        """Its loop is left."""
        handle, self.handle = self.handle, None
        self.loop = None
        self.until = 0
        self.expecting = False
        if handle is not None:
            handle.cancel()
        return 0
