# SPDX-License-Identifier: Apache-2.0
"""Measures this library: plexo_driver.py COMMAND [ARGUMENT ...], one thing in one process; see common.py.

STYLE: async (`async def` reactants, `await plexus.transmit`), the same on uvloop, or batch (reactants get lists,
`await plexus.transmit_many`). A style that the library measured does not have ends with "missing: …".
"""

from __future__ import annotations

import common
import plexo_inproc
import plexo_large
import plexo_multicast
import plexo_pair
import plexo_pubsub


def import_() -> None:
    common.import_ms("import plexo, sys; assert 'numpy' not in sys.modules, 'numpy was imported'")


if __name__ == "__main__":
    common.main(
        {
            "inproc": plexo_inproc.inproc,
            "nowait": plexo_inproc.nowait,
            "memory": plexo_inproc.memory,
            "import": import_,
            "pair": plexo_pair.pair,
            "pair-peer": plexo_pair.pair_peer,
            "rtt": plexo_pair.rtt,
            "rtt-peer": plexo_pair.rtt_peer,
            "rttload": plexo_pair.rttload,
            "rttload-peer": plexo_pair.rttload_peer,
            "fanout": plexo_pubsub.fanout,
            "fanout-peer": plexo_pubsub.fanout_peer,
            "links": plexo_pubsub.links,
            "links-peer": plexo_pubsub.links_peer,
            "idle-peer": plexo_pubsub.idle_peer,
            "ingest": plexo_pubsub.ingest,
            "ingest-peer": common.ingest_peer,
            "ingest-peer-many": plexo_pubsub.ingest_peer_many,
            "large": plexo_large.large,
            "large-peer": plexo_large.large_peer,
            "multicast": plexo_multicast.multicast,
            "multicast-send": plexo_multicast.send,
            "multicast-receive": plexo_multicast.receive,
        }
    )
