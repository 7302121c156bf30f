// SPDX-License-Identifier: Apache-2.0
//! Rows rtt and rttload: there and back, one at a time, and at half of what the link can do.

use std::time::{Duration, Instant};

use crate::common::{
    argument, own_cpu_s, print_far_usage, print_line, require, warm_up_of, FarEnd, Figures, Outcome, Phase,
};
use crate::link::{Link, Sender};
use crate::messages::{checksum_of, sequence_of, Echo, Echoes, Reading, Readings, Style, DIFFERENT};

const SIZE: usize = 64;

/// Row rttload: how capacity is found.
const WINDOW: u64 = 1000;
const CAPACITY_PHASE: Duration = Duration::from_millis(500);

/// Ends the far end of rttload; no message of the board has it.
const LAST_SEQUENCE: u32 = 0;

fn answer(sender: &mut Sender, reading: &Reading<'_>) -> Outcome<()> {
    sender.send::<Echoes>(&Echo {
        sensor: reading.sensor,
        time: reading.time,
        value: reading.value,
        sequence: reading.sequence,
    })
}

fn readings() -> Vec<Reading<'static>> {
    (0..DIFFERENT).map(Reading::of).collect()
}

/// `rtt COUNT [STYLE]`
pub fn run(arguments: &[String]) -> Outcome<()> {
    let count: u64 = argument(arguments, 0, "COUNT")?;
    let style = Style::parse(arguments.get(1))?;
    let warm_up = warm_up_of(count);
    let values = readings();
    let context = zmq::Context::new();
    let (mut link, port) = Link::bind(&context, style, SIZE)?;
    let far = vec![FarEnd::start(
        &[
            "rtt-peer".to_owned(),
            port.to_string(),
            (warm_up + count).to_string(),
            style.name().to_owned(),
        ],
        false,
    )?];
    let mut latencies_s = Vec::with_capacity(usize::try_from(count.max(warm_up))?);
    ping(&mut link, &values, warm_up, &mut latencies_s)?;
    latencies_s.clear();
    let phase = Phase::start(&far);
    let checksum = ping(&mut link, &values, count, &mut latencies_s)?;
    let stopped = phase.stop(&far);
    let per_second = count as f64 / stopped.seconds;
    let spent = stopped.finish(far)?;
    require((latencies_s.len() as u64, checksum), (count, checksum_of(count)))?;
    let mut figures = Figures {
        per_second: Some(per_second),
        ..Figures::new(count, checksum, &spent)
    };
    figures.set_quantiles(&mut latencies_s);
    print_line(&figures)
}

/// Returns the sum of the sequences that came back.
fn ping(
    link: &mut Link,
    values: &[Reading<'static>],
    count: u64,
    latencies_s: &mut Vec<f64>,
) -> Outcome<u64> {
    let mut checksum = 0u64;
    for value in values.iter().cycle().take(usize::try_from(count)?) {
        let begin = Instant::now();
        link.sender.send::<Readings>(value)?;
        let sequence = link.receive::<Echoes, _>(|_, echo| Ok(echo.sequence))?;
        latencies_s.push(begin.elapsed().as_secs_f64());
        checksum = checksum.wrapping_add(u64::from(sequence));
    }
    Ok(checksum)
}

/// `rtt-peer PORT COUNT [STYLE]`
pub fn run_peer(arguments: &[String]) -> Outcome<()> {
    let port = argument(arguments, 0, "PORT")?;
    let count: u64 = argument(arguments, 1, "COUNT")?;
    let context = zmq::Context::new();
    let mut link = Link::connect(&context, Style::of_peer(arguments.get(2)), SIZE, port)?;
    let warm_up = count / 11;
    let mut cpu_before_s = own_cpu_s();
    for index in 0..count {
        if index == warm_up {
            cpu_before_s = own_cpu_s();
        }
        link.receive::<Readings, _>(|sender, reading| answer(sender, &reading))?;
    }
    print_far_usage(cpu_before_s)
}

/// `rttload SECONDS [STYLE]`
pub fn run_load(arguments: &[String]) -> Outcome<()> {
    let seconds: f64 = argument(arguments, 0, "SECONDS")?;
    let style = Style::parse(arguments.get(1))?;
    let context = zmq::Context::new();
    let (link, port) = Link::bind(&context, style, SIZE)?;
    let far = vec![FarEnd::start(
        &[
            "rttload-peer".to_owned(),
            port.to_string(),
            style.name().to_owned(),
        ],
        false,
    )?];
    let mut load = Load {
        link,
        values: readings(),
        sent: 0,
        received: 0,
        checksum: 0,
    };
    let capacity = load.find_capacity()?;
    let rate = capacity / 2.0;
    let total = ((rate * seconds) as u64).max(1);
    load.restart();
    let mut latencies_s = Vec::with_capacity(usize::try_from(total)?);
    let phase = Phase::start(&far);
    load.run_open_loop(rate, total, &mut latencies_s)?;
    let stopped = phase.stop(&far);
    load.link.sender.send::<Readings>(&Reading {
        sequence: LAST_SEQUENCE,
        ..Reading::of(0)
    })?;
    require((load.received, load.checksum), (total, checksum_of(total)))?;
    let per_second = total as f64 / stopped.seconds;
    let spent = stopped.finish(far)?;
    let mut figures = Figures {
        per_second: Some(per_second),
        rate: Some(rate),
        capacity: Some(capacity),
        ..Figures::new(load.received, load.checksum, &spent)
    };
    figures.set_quantiles(&mut latencies_s);
    print_line(&figures)
}

struct Load {
    link: Link,
    values: Vec<Reading<'static>>,
    sent: u64,
    received: u64,
    checksum: u64,
}

impl Load {
    fn restart(&mut self) {
        (self.sent, self.received, self.checksum) = (0, 0, 0);
    }

    fn send(&mut self) -> Outcome<()> {
        let value = &self.values[(self.sent % DIFFERENT) as usize];
        self.sent += 1;
        self.link.sender.send::<Readings>(value)
    }

    /// A pair keeps the order, so the next echo is that of the oldest message that is out.
    fn note(&mut self, sequence: u32) -> Outcome<()> {
        if sequence != sequence_of(self.received) {
            return Err(format!("echo {} has sequence {sequence}", self.received).into());
        }
        self.received += 1;
        self.checksum = self.checksum.wrapping_add(u64::from(sequence));
        Ok(())
    }

    fn receive(&mut self) -> Outcome<()> {
        let sequence = self.link.receive::<Echoes, _>(|_, echo| Ok(echo.sequence))?;
        self.note(sequence)
    }

    /// Echoes per second with WINDOW messages out.
    fn find_capacity(&mut self) -> Outcome<f64> {
        // The far end is there when it has answered once.
        self.send()?;
        self.receive()?;
        let begin = Instant::now();
        for _ in 0..WINDOW {
            self.send()?;
        }
        let before = self.received;
        while begin.elapsed() < CAPACITY_PHASE {
            self.receive()?;
            self.send()?;
        }
        let capacity = (self.received - before) as f64 / begin.elapsed().as_secs_f64();
        while self.received < self.sent {
            self.receive()?;
        }
        Ok(capacity)
    }

    /// Sends by the clock, whatever comes back; latency counts from when a message was due.
    fn run_open_loop(&mut self, rate: f64, total: u64, latencies_s: &mut Vec<f64>) -> Outcome<()> {
        let waiter = Waiter::new(&self.link.sender.socket)?;
        let due_s = |index: u64| index as f64 / rate;
        let begin = Instant::now();
        while self.received < total {
            while self.sent < total && due_s(self.sent) <= begin.elapsed().as_secs_f64() {
                self.send()?;
            }
            if let Some(sequence) = self.link.try_receive::<Echoes, _>(|_, echo| Ok(echo.sequence))? {
                latencies_s.push(begin.elapsed().as_secs_f64() - due_s(self.received));
                self.note(sequence)?;
            } else if self.sent < total {
                waiter.wait(due_s(self.sent) - begin.elapsed().as_secs_f64());
            } else {
                waiter.wait(1.0);
            }
        }
        Ok(())
    }
}

/// Waits for a message or for the time of the next: libzmq's own poll counts in milliseconds.
struct Waiter {
    descriptor: libc::c_int,
}

impl Waiter {
    fn new(socket: &zmq::Socket) -> Outcome<Self> {
        // Without it the kernel wakes sleepers up to 50 us late, which is longer than a message takes.
        // SAFETY: a plain number for this thread.
        unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1 as libc::c_ulong) };
        Ok(Self {
            descriptor: socket.get_fd()?,
        })
    }

    /// Right only after the socket said that it has no message: its descriptor tells changes.
    fn wait(&self, seconds: f64) {
        if seconds <= 0.0 {
            return;
        }
        let mut entry = libc::pollfd {
            fd: self.descriptor,
            events: libc::POLLIN,
            revents: 0,
        };
        let time = libc::timespec {
            tv_sec: seconds as libc::time_t,
            tv_nsec: (seconds.fract() * 1e9) as libc::c_long,
        };
        // SAFETY: one entry, which outlives the call. What ppoll returns does not matter: the caller looks.
        unsafe { libc::ppoll(&mut entry, 1, &time, std::ptr::null()) };
    }
}

/// `rttload-peer PORT [STYLE]`
pub fn run_load_peer(arguments: &[String]) -> Outcome<()> {
    let port = argument(arguments, 0, "PORT")?;
    let context = zmq::Context::new();
    let mut link = Link::connect(&context, Style::of_peer(arguments.get(1)), SIZE, port)?;
    let cpu_before_s = own_cpu_s();
    loop {
        let last = link.receive::<Readings, _>(|sender, reading| {
            if reading.sequence == LAST_SEQUENCE {
                return Ok(true);
            }
            answer(sender, &reading)?;
            Ok(false)
        })?;
        if last {
            return print_far_usage(cpu_before_s);
        }
    }
}
