// SPDX-License-Identifier: Apache-2.0
//! plexo's pair over libzmq: PAIR sockets and the Cap'n Proto envelope of docs/wire.md.

use std::time::Duration;

use capnp::message::{Builder, ReaderOptions, ScratchSpaceHeapAllocator};
use capnp::serialize;

use crate::common::Outcome;
use crate::messages::{Kind, Style};
use crate::messages_capnp::plexo_message;

/// libzmq copies smaller messages into one allocation; of larger ones it gets the buffer itself, which costs it a
/// second allocation.
const COPIED_BYTES: usize = 4096;

/// What a socket may hold for its peer: long queues, but bounded where messages are large. A PAIR waits when
/// its queue is full and loses nothing.
const QUEUE_BYTES: usize = 64 << 20;

const WAIT: Duration = Duration::from_secs(50);

/// A PAIR socket whose queues hold QUEUE_BYTES of messages of `size`. Waits are bounded in time.
pub fn pair_socket(context: &zmq::Context, size: usize) -> zmq::Result<zmq::Socket> {
    let socket = context.socket(zmq::PAIR)?;
    let messages = (QUEUE_BYTES / size.max(1)).clamp(2, 1 << 20) as i32;
    socket.set_sndhwm(messages)?;
    socket.set_rcvhwm(messages)?;
    bound_waits(&socket)?;
    Ok(socket)
}

/// Bounds waits in time, also the one of closing: what was sent and is not with the peer yet is waited for.
pub fn bound_waits(socket: &zmq::Socket) -> zmq::Result<()> {
    let wait_ms = WAIT.as_millis() as i32;
    socket.set_sndtimeo(wait_ms)?;
    socket.set_rcvtimeo(wait_ms)?;
    socket.set_linger(wait_ms)
}

/// For sockets with nothing left to say when they are closed. They would wait for their peers nevertheless: a SUB for
/// who listens to its subscriptions, a PAIR whose peer failed for another one.
pub fn close_at_once(socket: &zmq::Socket) -> zmq::Result<()> {
    socket.set_linger(0)
}

/// Binds a free port of the loopback interface and returns it.
pub fn bind(socket: &zmq::Socket) -> Outcome<u16> {
    socket.bind("tcp://127.0.0.1:*")?;
    let endpoint = socket
        .get_last_endpoint()?
        .map_err(|_| "the endpoint is not UTF-8")?;
    let (_, port) = endpoint.rsplit_once(':').ok_or("the endpoint has no port")?;
    Ok(port.parse()?)
}

pub fn connect(socket: &zmq::Socket, port: u16) -> zmq::Result<()> {
    socket.connect(&format!("tcp://127.0.0.1:{port}"))
}

/// Encodes and sends. Buffers are reused from message to message.
pub struct Sender {
    pub socket: zmq::Socket,
    style: Style,
    envelope: ScratchSpaceHeapAllocator<'static>,
    inner: ScratchSpaceHeapAllocator<'static>,
    payload: Vec<u8>,
    wire: Vec<u8>,
}

impl Sender {
    /// `size`: of the largest payload, so that each message is one segment in a buffer that is there already.
    fn new(socket: zmq::Socket, style: Style, size: usize) -> Self {
        // Leaked: there is one sender in a process, and it lives as long.
        let scratch = || ScratchSpaceHeapAllocator::new(vec![0; size + 512].leak());
        Self {
            socket,
            style,
            envelope: scratch(),
            inner: scratch(),
            payload: Vec::with_capacity(size),
            wire: Vec::with_capacity(COPIED_BYTES),
        }
    }

    pub fn send<K: Kind>(&mut self, value: &K::Value<'_>) -> Outcome<()> {
        let mut message = Builder::new(&mut self.envelope);
        let mut root = message.init_root::<plexo_message::Builder>();
        root.set_type_name(K::topic(self.style));
        match self.style {
            Style::Msgpack => {
                self.payload.clear();
                if K::NAMED {
                    rmp_serde::encode::write_named(&mut self.payload, value)?;
                } else {
                    rmp_serde::encode::write(&mut self.payload, value)?;
                }
                root.set_payload(&self.payload);
            }
            Style::Capnp => {
                let mut inner = Builder::new(&mut self.inner);
                K::write(value, inner.init_root());
                let bytes = 8 * serialize::compute_serialized_size_in_words(&inner);
                serialize::write_message(root.init_payload(bytes as u32), &inner)?;
            }
        }
        if self.payload.len().max(8 * message.size_in_words()) <= COPIED_BYTES {
            self.wire.clear();
            serialize::write_message(&mut self.wire, &message)?;
            self.socket.send(&self.wire[..], 0)?;
        } else {
            self.socket.send(serialize::write_message_to_words(&message), 0)?;
        }
        Ok(())
    }
}

/// One side of a pair.
pub struct Link {
    pub sender: Sender,
    incoming: zmq::Message,
}

impl Link {
    /// Binds; returns the port too. This side outlives the other one, or its last messages are lost.
    pub fn bind(context: &zmq::Context, style: Style, size: usize) -> Outcome<(Self, u16)> {
        let socket = pair_socket(context, size)?;
        close_at_once(&socket)?;
        let port = bind(&socket)?;
        Ok((Self::over(socket, style, size), port))
    }

    pub fn connect(context: &zmq::Context, style: Style, size: usize, port: u16) -> Outcome<Self> {
        let socket = pair_socket(context, size)?;
        connect(&socket, port)?;
        Ok(Self::over(socket, style, size))
    }

    fn over(socket: zmq::Socket, style: Style, size: usize) -> Self {
        Self {
            sender: Sender::new(socket, style, size),
            incoming: zmq::Message::new(),
        }
    }

    /// Waits for the next message of kind K and gives it to `react`, with the sender for an answer. Messages with
    /// other topics are passed over.
    pub fn receive<K: Kind, R>(
        &mut self,
        mut react: impl FnMut(&mut Sender, K::Value<'_>) -> Outcome<R>,
    ) -> Outcome<R> {
        loop {
            self.sender.socket.recv(&mut self.incoming, 0)?;
            if let Some(result) = self.decode::<K, R>(&mut react)? {
                return Ok(result);
            }
        }
    }

    /// The same where a message is here already; None otherwise.
    pub fn try_receive<K: Kind, R>(
        &mut self,
        mut react: impl FnMut(&mut Sender, K::Value<'_>) -> Outcome<R>,
    ) -> Outcome<Option<R>> {
        match self.sender.socket.recv(&mut self.incoming, zmq::DONTWAIT) {
            Ok(()) => self.decode::<K, R>(&mut react),
            Err(zmq::Error::EAGAIN) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// None: the topic is another one.
    fn decode<K: Kind, R>(
        &mut self,
        react: &mut impl FnMut(&mut Sender, K::Value<'_>) -> Outcome<R>,
    ) -> Outcome<Option<R>> {
        let style = self.sender.style;
        let message =
            serialize::read_message_from_flat_slice_no_alloc(&mut &self.incoming[..], ReaderOptions::new())?;
        let root = message.get_root::<plexo_message::Reader>()?;
        if root.get_type_name()?.as_bytes() != K::topic(style).as_bytes() {
            return Ok(None);
        }
        let payload = root.get_payload()?;
        match style {
            Style::Msgpack => react(&mut self.sender, rmp_serde::from_slice(payload)?),
            Style::Capnp => {
                let inner =
                    serialize::read_message_from_flat_slice_no_alloc(&mut &*payload, ReaderOptions::new())?;
                let result = react(&mut self.sender, K::read(inner.get_root()?)?);
                result
            }
        }
        .map(Some)
    }
}
