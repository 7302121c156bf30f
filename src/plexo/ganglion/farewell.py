# SPDX-License-Identifier: Apache-2.0
"""The end of sources: send what was accepted, repair what the last packets lost, say goodbye."""

from __future__ import annotations

from typing import TYPE_CHECKING

from plexo._fast.wake import clock

if TYPE_CHECKING:
    from plexo.ganglion.multicast import GanglionMulticast

# A receiver that lost the last packets hears of it by an SPM and asks again; after so long a silence nobody does.
QUIET_S = 0.15
# Who sent nothing for so long has nobody who still asks.
RECENT_S = 1.0


class Farewell:
    """What a ganglion that is being closed still does, off the event loop; see life.Lingering.

    After its last goodbye (FIN) a source repairs nothing, so first there is a silence to be heard.
    """

    goes_by_time = True

    def __init__(self, ganglion: GanglionMulticast) -> None:
        self._ganglion = ganglion
        self._quiet_at: float | None = None
        self._parting = False

    def fileno(self) -> int:
        """Where others ask for repairs."""
        return self._ganglion._nak_socket.fileno()

    def is_sending(self) -> bool:
        """The socket to wait for is another one."""
        return False

    def finish_sending(self) -> bool:
        ganglion = self._ganglion
        transmissions = list(ganglion._groups.transmissions.values())
        now = clock()
        # First what is asked for: a window that waits for receivers takes nothing new.
        repaired = sum(each.window.repaired_packets for each in transmissions)
        ganglion._hear_naks()
        if sum(each.window.repaired_packets for each in transmissions) != repaired:
            self._quiet_at = now + QUIET_S
        done = [each.push_out() for each in transmissions]
        if not all(done) or not ganglion.hub.push_waiting():
            return False
        if self._quiet_at is None:
            recent = [each for each in transmissions if now - each.sent_at < RECENT_S]
            for each in recent:
                each.spmr(now)
            self._quiet_at = now + QUIET_S if recent else now
        if now < self._quiet_at:
            for each in transmissions:
                each.say(now)
            return False
        if not self._parting:
            self._parting = True
            for each in transmissions:
                each.policy.finish(now)
        for each in transmissions:
            each.say(now)
        return all(each.policy.finished for each in transmissions)
