// SPDX-License-Identifier: Apache-2.0
//! Row ingest: samples of 64 bytes from many connections into batches of `Sample`.
//!
//! Each message is one sample, two frames: topic and the 64 bytes.

use bytemuck::{Pod, Zeroable};

use crate::common::{
    argument, own_cpu_s, print_far_usage, print_line, require, warm_up_of, FarEnd, Figures, Outcome, Phase,
};
use crate::link::{bind, bound_waits, close_at_once, connect};
use crate::messages::{checksum_of, sequence_of, DIFFERENT, FIRST_TIME, VALUE};

const TOPIC: &[u8] = b"bench.Sample.numpy";
/// Samples that are handed on at once, at most.
const BATCH: usize = 8192;

/// A sample as it is on the wire (of a little-endian machine), without padding.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Sample {
    id: u32,
    seq: u32,
    time: f64,
    values: [f64; 6],
}

#[cfg(target_endian = "big")]
compile_error!("samples are little-endian on the wire");

/// COUNT CONNECTIONS. Counts are those of all connections together.
struct Work {
    warm_up: u64,
    count: u64,
    connections: usize,
}

impl Work {
    fn parse(arguments: &[String]) -> Outcome<Self> {
        let count: u64 = argument(arguments, 0, "COUNT")?;
        let connections: u64 = argument(arguments, 1, "CONNECTIONS")?;
        let warm_up = warm_up_of(count);
        if connections == 0 || !count.is_multiple_of(connections) {
            return Err(format!("COUNT: expected a multiple of CONNECTIONS, {connections}").into());
        }
        Ok(Self {
            warm_up,
            count,
            connections: usize::try_from(connections)?,
        })
    }
}

/// `ingest COUNT CONNECTIONS`
pub fn run(arguments: &[String]) -> Outcome<()> {
    let work = Work::parse(arguments)?;
    let mut far = vec![FarEnd::start(
        &[
            "ingest-peer".to_owned(),
            work.count.to_string(),
            work.connections.to_string(),
        ],
        true,
    )?];
    let context = zmq::Context::new();
    let socket = context.socket(zmq::SUB)?;
    socket.set_rcvhwm(0)?;
    bound_waits(&socket)?;
    close_at_once(&socket)?;
    socket.set_subscribe(TOPIC)?;
    for port in far[0].read_line()?.split_whitespace() {
        connect(&socket, port.parse()?)?;
    }
    let mut collector = Collector {
        socket,
        topic: zmq::Message::new(),
        batch: vec![Sample::zeroed(); BATCH],
    };
    collector.collect(work.warm_up)?;
    let phase = Phase::start(&far);
    far[0].write_line("go")?;
    let checksum = collector.collect(work.count)?;
    let stopped = phase.stop(&far);
    let per_second = work.count as f64 / stopped.seconds;
    let spent = stopped.finish(far)?;
    print_line(&Figures {
        per_second: Some(per_second),
        bytes_per_second: Some(per_second * size_of::<Sample>() as f64),
        ..Figures::new(work.count, checksum, &spent)
    })
}

struct Collector {
    socket: zmq::Socket,
    topic: zmq::Message,
    batch: Vec<Sample>,
}

impl Collector {
    /// Collects `count` samples and returns the sum of their `seq`.
    fn collect(&mut self, count: u64) -> Outcome<u64> {
        let (mut seen, mut checksum) = (0, 0u64);
        while seen < count {
            let batch = self.next_batch()?;
            seen += batch.len() as u64;
            let sum: u64 = batch.iter().map(|sample| u64::from(sample.seq)).sum();
            checksum = checksum.wrapping_add(sum);
        }
        require((seen, checksum), (count, checksum_of(count)))?;
        Ok(checksum)
    }

    /// Waits for a sample and takes what else is there, each copied to its place in the batch.
    fn next_batch(&mut self) -> Outcome<&[Sample]> {
        let mut filled = 0;
        while filled < BATCH {
            let flags = if filled == 0 { 0 } else { zmq::DONTWAIT };
            match self.socket.recv(&mut self.topic, flags) {
                Ok(()) => {}
                Err(zmq::Error::EAGAIN) if filled > 0 => break,
                Err(error) => return Err(error.into()),
            }
            let place = bytemuck::bytes_of_mut(&mut self.batch[filled]);
            let size = self.socket.recv_into(place, 0)?;
            // A subscription is a prefix; a sample of another size would have been cut.
            if &self.topic[..] == TOPIC && size == size_of::<Sample>() {
                filled += 1;
            }
        }
        Ok(&self.batch[..filled])
    }
}

/// `ingest-peer COUNT CONNECTIONS`
pub fn run_peer(arguments: &[String]) -> Outcome<()> {
    let work = Work::parse(arguments)?;
    let context = zmq::Context::new();
    let mut ports = Vec::with_capacity(work.connections);
    let sockets = (0..work.connections)
        .map(|_| {
            // An XPUB sends as a PUB does, and says who has subscribed.
            let socket = context.socket(zmq::XPUB)?;
            socket.set_sndhwm(0)?;
            bound_waits(&socket)?;
            ports.push(bind(&socket)?.to_string());
            Ok(socket)
        })
        .collect::<Outcome<Vec<_>>>()?;
    println!("{}", ports.join(" "));
    for socket in &sockets {
        if socket.recv_msg(0)?.first() != Some(&1) {
            return Err("the collector left before the start".into());
        }
    }
    let samples: Vec<_> = (0..DIFFERENT)
        .map(|index| Sample {
            id: (index % 100) as u32,
            seq: sequence_of(index),
            time: FIRST_TIME + index as f64,
            values: [VALUE; 6],
        })
        .collect();
    send(&sockets, &samples, work.warm_up)?;
    let mut line = String::new();
    if std::io::stdin().read_line(&mut line)? == 0 {
        return Err("the collector ended early".into());
    }
    let cpu_before_s = own_cpu_s();
    send(&sockets, &samples, work.count)?;
    print_far_usage(cpu_before_s)
}

/// Sends by turns on all sockets.
fn send(sockets: &[zmq::Socket], samples: &[Sample], count: u64) -> Outcome<()> {
    let turns = sockets.iter().cycle().zip(samples.iter().cycle());
    for (socket, sample) in turns.take(usize::try_from(count)?) {
        socket.send(TOPIC, zmq::SNDMORE)?;
        socket.send(bytemuck::bytes_of(sample), 0)?;
    }
    Ok(())
}
