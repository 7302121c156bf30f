# SPDX-License-Identifier: Apache-2.0
"""The way of one neuron's messages through a plexus: local reactants, other ganglia of this process, the network.

* A local ``transmit`` goes everywhere: encoded once for all external ganglia, as the very object to local reactants.
* What an external ganglion received goes to local reactants (decoded only if there are any) and, undecoded, to the other
  external ganglia; never back where it came from.
* A reaction id remembers the ganglia a message has seen. It is tracked only where internal ganglia could lead in a
  circle, or where the user passes one on.
"""

from asyncio import CancelledError
from types import GenericAlias

from cpython.object cimport PyObject

from plexo._fast.books cimport tick
from plexo._fast.completion cimport Completion, Source, Target, raise_errors
from plexo._fast.dispatch cimport Fanout
from plexo._fast.queues cimport Queue
from plexo._fast.synapse cimport Synapse, as_payload
from plexo._fast.tasks cimport TaskPool
from plexo.exceptions import QueueFull, TransmitterNotFound
from plexo.reaction import ReactionId, visited_by

cdef extern from "Python.h":
    PyObject *PyDict_GetItem(dict, object)  # borrowed, or NULL
    object PyLong_FromVoidPtr(void *)

cdef object _NOWHERE = frozenset()

cdef enum:
    # Below this no transport refuses a payload for its size.
    CHECK_BYTES = 32768


async def settle(list waiting, list errors):
    """Await reactants and room on the links, every one of them, then raise all `errors`.

    A cancelled sender withdraws what was not accepted yet.
    """
    for position, one in enumerate(waiting):
        try:
            await one
        except CancelledError:
            for left in waiting[position:]:
                cancel = getattr(left, "cancel", None)
                if cancel is not None:
                    cancel()
            raise
        except Exception as error:
            errors.append(error)
    if errors:
        raise_errors(errors)


cdef class Port(Target):
    """Where messages enter a plexus. In the book of where they come from they are delivered; the route keeps its own."""

    cdef int delivered(self) except -1:
        tick(self.ledger.accepted)
        tick(self.ledger.delivered)
        return 0

    cdef int to_local(self, object data, object reaction_id, Completion completion, TaskPool pool, Source source,
                      object payload) except -1:
        """To the reactants of the plexus; who waits for this port waits for them."""
        cdef Fanout local = self.route.local
        if completion is not None:
            completion.waiting += local.count
            completion.targets = (*completion.targets, *local.targets)
        return local.post(data, reaction_id, completion, pool, source, payload)


cdef class Arrival(Port):
    """In an external ganglion's synapse: decoded messages enter the plexus here."""

    cdef int offer(self, object data, object reaction_id, Completion completion, TaskPool pool,
                   Source source, object payload) except -1:
        cdef Route route = self.route
        cdef Fanout local = route.local
        self.delivered()
        if reaction_id is None and (local.wants_reaction or route.inside):
            reaction_id = ReactionId.begin()
            visited_by(reaction_id).add(self.origin)
        try:
            if route.inside:
                visited_by(reaction_id).add(route.plexus)
                route.spread_inside(data, reaction_id, source)
            if local.count:
                self.to_local(data, reaction_id, completion, pool, source, payload)
        finally:
            if completion is not None:
                completion.one_done(None)
        return 0

    cdef int revive(self) except -1:
        self.route.local.revive()
        return 0


cdef class Relay(Port):
    """In an external ganglion's synapse: encoded messages go on to the other external ganglia."""

    cdef int offer(self, object data, object reaction_id, Completion completion, TaskPool pool,
                   Source source, object payload) except -1:
        cdef Synapse synapse
        self.delivered()
        try:
            for synapse in self.route.outside:
                if synapse.owner is not self.origin:
                    synapse.forward(data, source)
        finally:
            if completion is not None:
                completion.one_done(None)
        return 0


cdef class Passage(Port):
    """In an internal ganglion (or another plexus): its messages enter this plexus here, as the objects they are."""

    cdef int offer(self, object data, object reaction_id, Completion completion, TaskPool pool,
                   Source source, object payload) except -1:
        cdef Route route = self.route
        fault = None
        self.delivered()
        if reaction_id is None:
            reaction_id = ReactionId.begin()
        visited = visited_by(reaction_id)
        try:
            if route.plexus not in visited:
                visited.add(route.plexus)
                visited.add(self.origin)
                route.spread(data, reaction_id, source)
                self.to_local(data, reaction_id, completion, pool, source, payload)
        except Exception as error:
            # A codec or a limit on the way out. The sender learns of it; a link that it came on must not.
            fault = error
        if completion is not None:
            completion.one_done(fault)
        elif fault is not None:
            route.local.failed(fault, route.plexus, source, data, None)
        return 0


cdef class Route:
    """One neuron at one plexus."""

    __class_getitem__ = classmethod(GenericAlias)

    def __init__(self, plexus, neuron, Queue receive_queue):
        self.plexus = plexus
        self.neuron = neuron
        # A codec that looks closer than at the class (NumpyCodec: dtype and shape) is asked every time.
        self.type = neuron.type if neuron.checks_type_only else None
        self.encode = neuron.encode
        self.view_of = neuron._view_of
        self.local = Fanout.__new__(Fanout, neuron, plexus, receive_queue)
        self.outside = ()
        self.inside = ()

    def add_outside(self, Synapse synapse):
        """Let an external ganglion's synapse send and receive for this route; returns its two ports."""
        cdef Arrival arrival = Arrival.__new__(Arrival)
        cdef Relay relay = Relay.__new__(Relay)
        arrival.route = relay.route = self
        arrival.origin = relay.origin = synapse.owner
        self.outside = (*self.outside, synapse)
        return arrival, relay

    def add_inside(self, ganglion, Fanout fanout):
        """Join an internal ganglion whose messages of this neuron pass through `fanout`."""
        cdef Passage passage = Passage.__new__(Passage)
        passage.route = self
        passage.origin = ganglion
        passage.wants_reaction = True
        self.inside = (*self.inside, ganglion)
        fanout.add_target(passage)
        return passage

    cdef int check(self, object data) except -1:
        if type(data) is not self.type:
            self.neuron.check(data)
        return 0

    cdef bytes encoded(self, object data):
        cdef Synapse synapse
        cdef bytes payload = as_payload(self.encode(data))
        if len(payload) >= CHECK_BYTES:
            for synapse in self.outside:
                synapse.check(<size_t>len(payload))
        return payload

    cdef object transmit(self, object data, object reaction_id):
        """None when everything is done, or an awaitable; `handed` says to how many it went."""
        cdef Synapse synapse
        cdef bytes payload = None
        cdef list waiting = None
        cdef Py_ssize_t handed = 0
        self.check(data)
        if reaction_id is not None or self.inside:
            return self.transmit_tracked(data, reaction_id)
        if self.view_of is not None and len(self.outside) == 1 and self.local.count == 0:
            # Nobody here could change it meanwhile, but its sender, who waits.
            synapse = <Synapse>self.outside[0]
            if synapse.wanted_outside():
                view = self.view_of(data)
                if view is not None:
                    pending = synapse.lend(view, data)
                    self.handed = synapse.handed
                    return pending
        for synapse in self.outside:
            if synapse.wanted_outside():
                if payload is None:
                    payload = self.encoded(data)
                pending = synapse.send(payload, data)
                handed += synapse.handed
                if pending is not None:
                    if waiting is None:
                        waiting = [pending]
                    else:
                        waiting.append(pending)
        if self.local.count == 0:
            local = None
        else:
            handed += self.local.count
            local = self.local.deliver(data, None)
        # Last: a reactant may have transmitted here too.
        self.handed = handed
        if waiting is None:
            return local
        if local is None and len(waiting) == 1:
            return waiting[0]
        if local is not None:
            waiting.insert(0, local)
        return settle(waiting, [])

    cdef object transmit_tracked(self, object data, object reaction_id, bytes payload=None):
        """`payload`: what `data` encodes to, where that is known."""
        cdef Synapse synapse
        cdef Py_ssize_t handed = self.local.count
        given = reaction_id
        if reaction_id is None:
            reaction_id = ReactionId.begin()
        visited = visited_by(reaction_id)
        visited.add(self.plexus)
        waiting = []
        for synapse in self.outside:
            if synapse.owner not in visited and synapse.wanted_outside():
                if payload is None:
                    payload = self.encoded(data)
                visited.add(synapse.owner)
                pending = synapse.send(payload, data)
                handed += synapse.handed
                if pending is not None:
                    waiting.append(pending)
        errors = []
        for ganglion in self.inside:
            if ganglion not in visited:
                visited.add(ganglion)
                handed += ganglion._receivers(self.neuron)
                try:
                    pending = ganglion._enter(data, self.neuron, reaction_id)
                    if pending is not None:
                        waiting.append(pending)
                except Exception as error:
                    errors.append(error)
        try:
            local = self.local.deliver(data, given)
            if local is not None:
                waiting.insert(0, local)
        except Exception as error:
            errors.append(error)
        self.handed = handed
        # An awaitable that nobody awaits is a reactant that is not finished: errors wait for the others.
        if waiting:
            return settle(waiting, errors)
        if errors:
            raise_errors(errors)
        return None

    cdef int transmit_now(self, object data, object reaction_id) except -1:
        cdef Synapse synapse
        cdef bytes payload = None
        cdef Py_ssize_t handed = self.local.count
        self.check(data)
        if self.local.count and self.local.refuses():
            raise QueueFull(f"{self.neuron.name}: the queue of a reactant here is full; await transmit(), or react faster")
        for synapse in self.outside:
            if synapse.would_wait():
                raise QueueFull(f"{self.neuron.name}: {synapse.owner!r} would have to wait for a peer or for room; "
                                "await transmit() instead")
        given = reaction_id
        if reaction_id is None and self.inside:
            reaction_id = ReactionId.begin()
        visited = _NOWHERE if reaction_id is None else visited_by(reaction_id)
        for synapse in self.outside:
            if synapse.owner not in visited and synapse.wanted_outside():
                if payload is None:
                    payload = self.encoded(data)
                if reaction_id is not None:
                    visited.add(synapse.owner)
                synapse.send(payload, data)
                handed += synapse.handed
        if self.inside:
            visited.add(self.plexus)
            for ganglion in self.inside:
                if ganglion not in visited:
                    handed += ganglion._receivers(self.neuron)
            self.spread_inside(data, reaction_id, None)
        if self.local.count:
            self.local.deliver_now(data, given)
        self.handed = handed
        return 0

    cdef int spread(self, object data, object reaction_id, Source source) except -1:
        """On to every ganglion that this reaction has not visited; nobody waits."""
        cdef Synapse synapse
        cdef bytes payload = None
        visited = visited_by(reaction_id)
        for synapse in self.outside:
            if synapse.owner not in visited and synapse.wanted_outside():
                if payload is None:
                    payload = self.encoded(data)
                visited.add(synapse.owner)
                synapse.forward(payload, source)
        self.spread_inside(data, reaction_id, source)
        return 0

    cdef int spread_inside(self, object data, object reaction_id, Source source) except -1:
        visited = visited_by(reaction_id)
        for ganglion in self.inside:
            if ganglion not in visited:
                visited.add(ganglion)
                ganglion._enter_posted(data, self.neuron, reaction_id, source)
        return 0

    def pass_on(self, data, reaction_id, source):
        """Another plexus received `data` and passes it through this one; nobody waits."""
        visited_by(reaction_id).add(self.plexus)
        self.spread(data, reaction_id, source)
        self.local.receive(data, reaction_id, source)


cdef class Exchange:
    """The compiled half of a plexus: from a value to its route.

    A subclass gives _route_for(type) -> Route for a type seen for the first time, or raises.
    """

    def __cinit__(self, *args, **kwargs):
        self.routes = {}
        self.routes_by_type = {}
        self.routes_by_identity = {}

    cdef Route find(self, object data, object neuron):
        cdef Route route
        cdef PyObject *found
        if neuron is None:
            route = self.routes_by_type.get(type(data))
            if route is None:
                route = self._route_for(type(data))
                self.routes_by_type[type(data)] = route
            return route
        if neuron is self.last_neuron:
            return self.last_route
        # Hashing a neuron calls Python code; the very object that was adapted is found without.
        found = PyDict_GetItem(self.routes_by_identity, PyLong_FromVoidPtr(<void *><PyObject *>neuron))
        route = self.routes.get(neuron) if found == NULL else <Route>found
        if route is None:
            self._require_open()
            raise TransmitterNotFound(f"no transmitter for {neuron} here; call `await adapt(neuron)` first")
        self.last_neuron = neuron
        self.last_route = route
        return route

    def _add_route(self, Route route):
        self.routes[route.neuron] = route
        self.routes_by_identity[id(route.neuron)] = route
        self.routes_by_type.clear()

    def _drop_routes(self):
        self.routes.clear()
        self.routes_by_identity.clear()
        self.routes_by_type.clear()
        self.last_neuron = self.last_route = None

    def _get_route(self, neuron):
        return self.routes.get(neuron)

    def _all_routes(self):
        return list(self.routes.values())

    def _find_route(self, data, neuron):
        """The route of `neuron`, or where it is None, of values such as `data`; raises what `transmit` does."""
        return self.find(data, neuron)

    def _send(self, data, neuron, reaction_id):
        """Transmit: to how many it went, when everything is done; else None, and `_take_pending` has the rest."""
        cdef Route route = self.find(data, neuron)
        pending = route.transmit(data, reaction_id)
        if pending is None:
            return route.handed
        self.pending = pending
        self.handed = route.handed
        return None

    def _take_pending(self):
        """After `_send` gave None, before anything else happens: what must be awaited, and to how many it goes."""
        pending, self.pending = self.pending, None
        return pending, self.handed

    def transmit_nowait(self, data, neuron=None, reaction_id=None):
        """Send without waiting, from plain functions and callbacks on the event loop.

        Errors of reactants that finish at once are raised here; those of reactants that suspend are reported as for
        received messages. Returns how many it was handed to, as `transmit` does. Raises QueueFull, with nothing sent,
        where `transmit` would have to wait for room or for a peer; WrongType and TransmitterNotFound as `transmit` does.
        """
        cdef Route route = self.find(data, neuron)
        route.transmit_now(data, reaction_id)
        return route.handed
