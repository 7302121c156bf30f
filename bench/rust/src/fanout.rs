// SPDX-License-Identifier: Apache-2.0
//! Row fanout: one publisher, eight processes that subscribe to ten of a hundred topics each.
//!
//! A message is two frames, topic and MessagePack payload.

use serde::{Deserialize, Serialize};

use crate::common::{
    argument, own_cpu_s, own_peak_bytes, print_line, require, warm_up_of, FarEnd, Figures, Outcome, Phase,
};
use crate::link::{bind, bound_waits, close_at_once, connect};
use crate::messages::{sequence_of, Reading, DIFFERENT};

const TOPICS: u64 = 100;
const SUBSCRIBERS: u64 = 8;
/// Topics that each subscriber wants.
const WANTED: u64 = 10;

fn topic(index: u64) -> String {
    format!("bench.t{index:02}.Reading.msgpack")
}

/// Some topics have two subscribers and some none.
fn wanted_by(subscriber: u64) -> impl Iterator<Item = u64> {
    (0..WANTED).map(move |index| (5 * subscriber + index) % TOPICS)
}

/// What a subscriber saw in one phase, as a line of its standard output.
#[derive(Serialize, Deserialize)]
struct Seen {
    count: u64,
    checksum: u64,
    cpu_s: f64,
    peak_bytes: u64,
}

/// What a subscriber must see of `count` messages, a multiple of TOPICS.
fn expected(subscriber: u64, count: u64) -> (u64, u64) {
    let rounds = count / TOPICS;
    let checksum = wanted_by(subscriber)
        .flat_map(|topic| (0..rounds).map(move |round| u64::from(sequence_of(TOPICS * round + topic))))
        .fold(0u64, u64::wrapping_add);
    (WANTED * rounds, checksum)
}

/// `fanout COUNT`
pub fn run(arguments: &[String]) -> Outcome<()> {
    let count: u64 = argument(arguments, 0, "COUNT")?;
    if count == 0 || !count.is_multiple_of(1000) {
        return Err("COUNT: expected a multiple of 1000".into());
    }
    let warm_up = warm_up_of(count);
    let context = zmq::Context::new();
    // An XPUB sends as a PUB does, and says who has subscribed.
    let socket = context.socket(zmq::XPUB)?;
    socket.set_xpub_verbose(true)?;
    socket.set_sndhwm(0)?;
    bound_waits(&socket)?;
    close_at_once(&socket)?;
    let port = bind(&socket)?;
    let mut far = (0..SUBSCRIBERS)
        .map(|subscriber| {
            let arguments = [u64::from(port), warm_up, count, subscriber].map(|each| each.to_string());
            FarEnd::start(&[&["fanout-peer".to_owned()], &arguments[..]].concat(), true)
        })
        .collect::<Outcome<Vec<_>>>()?;
    await_subscriptions(&socket, SUBSCRIBERS * WANTED)?;

    let mut publisher = Publisher {
        socket,
        topics: (0..TOPICS).map(topic).collect(),
        readings: (0..DIFFERENT).map(Reading::of).collect(),
        payload: Vec::with_capacity(64),
    };
    publisher.publish(warm_up)?;
    collect(&mut far, warm_up)?;
    let phase = Phase::start(&far);
    publisher.publish(count)?;
    let seen = collect(&mut far, count)?;
    let stopped = phase.stop(&far);
    let per_second = count as f64 / stopped.seconds;
    let spent = stopped.finish(far)?;
    print_line(&Figures {
        per_second: Some(per_second),
        ..Figures::new(seen.0, seen.1, &spent)
    })
}

fn await_subscriptions(socket: &zmq::Socket, wanted: u64) -> Outcome<()> {
    let mut message = zmq::Message::new();
    for _ in 0..wanted {
        socket.recv(&mut message, 0)?;
        if message.first() != Some(&1) {
            return Err("a subscriber left before the start".into());
        }
    }
    Ok(())
}

/// Waits for the reports of all subscribers and adds them up.
fn collect(far: &mut [FarEnd], count: u64) -> Outcome<(u64, u64)> {
    let mut sum = (0u64, 0u64);
    for (subscriber, each) in far.iter_mut().enumerate() {
        let seen: Seen = serde_json::from_str(&each.read_line()?)?;
        require((seen.count, seen.checksum), expected(subscriber as u64, count))?;
        sum = (sum.0 + seen.count, sum.1.wrapping_add(seen.checksum));
    }
    Ok(sum)
}

struct Publisher {
    socket: zmq::Socket,
    topics: Vec<String>,
    readings: Vec<Reading<'static>>,
    payload: Vec<u8>,
}

impl Publisher {
    fn publish(&mut self, count: u64) -> Outcome<()> {
        let messages = self.topics.iter().cycle().zip(self.readings.iter().cycle());
        for (topic, reading) in messages.take(usize::try_from(count)?) {
            self.payload.clear();
            rmp_serde::encode::write_named(&mut self.payload, reading)?;
            self.socket.send(topic.as_bytes(), zmq::SNDMORE)?;
            self.socket.send(&self.payload[..], 0)?;
        }
        Ok(())
    }
}

/// `fanout-peer PORT WARMUP COUNT K`
pub fn run_peer(arguments: &[String]) -> Outcome<()> {
    let port = argument(arguments, 0, "PORT")?;
    let warm_up: u64 = argument(arguments, 1, "WARMUP")?;
    let count: u64 = argument(arguments, 2, "COUNT")?;
    let subscriber = argument(arguments, 3, "K")?;
    let mut topics: Vec<_> = wanted_by(subscriber).map(topic).collect();
    topics.sort_unstable();
    let context = zmq::Context::new();
    let socket = context.socket(zmq::SUB)?;
    socket.set_rcvhwm(0)?;
    bound_waits(&socket)?;
    close_at_once(&socket)?;
    for topic in &topics {
        socket.set_subscribe(topic.as_bytes())?;
    }
    connect(&socket, port)?;
    let (mut name, mut payload) = (zmq::Message::new(), zmq::Message::new());
    for published in [warm_up, count] {
        let cpu_before_s = own_cpu_s();
        let wanted = published / TOPICS * WANTED;
        let (mut seen, mut checksum) = (0, 0u64);
        while seen < wanted {
            socket.recv(&mut name, 0)?;
            socket.recv(&mut payload, 0)?;
            // A subscription is a prefix; what was asked for is the whole topic.
            if topics
                .binary_search_by(|topic| topic.as_bytes().cmp(&name))
                .is_ok()
            {
                let reading: Reading = rmp_serde::from_slice(&payload)?;
                checksum = checksum.wrapping_add(u64::from(reading.sequence));
                seen += 1;
            }
        }
        print_line(&Seen {
            count: seen,
            checksum,
            cpu_s: own_cpu_s() - cpu_before_s,
            peak_bytes: own_peak_bytes(),
        })?;
    }
    Ok(())
}
