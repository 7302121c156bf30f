// SPDX-License-Identifier: Apache-2.0
//! Row pair: one way, from process to process.

use crate::common::{
    argument, own_cpu_s, print_far_usage, print_line, require, warm_up_of, FarEnd, Figures, Outcome, Phase,
};
use crate::link::Link;
use crate::messages::{
    block_data, checksum_of, Blocks, Readings, Reports, Seen, Sequenced, Smalls, Style, DIFFERENT,
};

struct Work {
    count: u64,
    size: usize,
    style: Style,
}

impl Work {
    /// COUNT SIZE, the first of them at `index`.
    fn parse(arguments: &[String], index: usize, style: Style) -> Outcome<Self> {
        Ok(Self {
            count: argument(arguments, index, "COUNT")?,
            size: argument(arguments, index + 1, "SIZE")?,
            style,
        })
    }
}

/// `pair COUNT SIZE [STYLE]`
pub fn run(arguments: &[String]) -> Outcome<()> {
    let work = Work::parse(arguments, 0, Style::parse(arguments.get(2))?)?;
    match work.size {
        16 => send::<Smalls>(&work),
        64 => send::<Readings>(&work),
        _ => send::<Blocks>(&work),
    }
}

fn send<K: Sequenced>(work: &Work) -> Outcome<()> {
    let data = block_data(work.size, work.style);
    let values: Vec<_> = (0..DIFFERENT).map(|index| K::of(index, &data)).collect();
    let warm_up = warm_up_of(work.count);
    let context = zmq::Context::new();
    let (mut link, port) = Link::bind(&context, work.style, work.size)?;
    let far = vec![FarEnd::start(
        &[
            "pair-peer".to_owned(),
            port.to_string(),
            warm_up.to_string(),
            work.count.to_string(),
            work.size.to_string(),
            work.style.name().to_owned(),
        ],
        false,
    )?];
    exchange::<K>(&mut link, &values, warm_up)?;
    let phase = Phase::start(&far);
    let seen = exchange::<K>(&mut link, &values, work.count)?;
    let stopped = phase.stop(&far);
    let per_second = work.count as f64 / stopped.seconds;
    let spent = stopped.finish(far)?;
    print_line(&Figures {
        per_second: Some(per_second),
        bytes_per_second: Some(per_second * work.size as f64),
        ..Figures::new(seen.count, seen.checksum, &spent)
    })
}

/// Sends `count` messages and waits for the report that they were seen.
fn exchange<K: Sequenced>(link: &mut Link, values: &[K::Value<'_>], count: u64) -> Outcome<Seen> {
    for value in values.iter().cycle().take(usize::try_from(count)?) {
        link.sender.send::<K>(value)?;
    }
    let seen = link.receive::<Reports, _>(|_, seen| Ok(seen))?;
    require((seen.count, seen.checksum), (count, checksum_of(count)))?;
    Ok(seen)
}

/// `pair-peer PORT WARMUP COUNT SIZE [STYLE]`
pub fn run_peer(arguments: &[String]) -> Outcome<()> {
    let port = argument(arguments, 0, "PORT")?;
    let warm_up = argument(arguments, 1, "WARMUP")?;
    let work = Work::parse(arguments, 2, Style::of_peer(arguments.get(4)))?;
    match work.size {
        16 => see::<Smalls>(port, warm_up, &work),
        64 => see::<Readings>(port, warm_up, &work),
        _ => see::<Blocks>(port, warm_up, &work),
    }
}

fn see<K: Sequenced>(port: u16, warm_up: u64, work: &Work) -> Outcome<()> {
    let context = zmq::Context::new();
    let mut link = Link::connect(&context, work.style, work.size, port)?;
    let mut cpu_before_s = 0.0;
    for wanted in [warm_up, work.count] {
        cpu_before_s = own_cpu_s();
        let mut checksum = 0u64;
        for _ in 0..wanted {
            let sequence = link.receive::<K, _>(|_, value| Ok(K::sequence(&value)))?;
            checksum = checksum.wrapping_add(u64::from(sequence));
        }
        link.sender.send::<Reports>(&Seen {
            count: wanted,
            checksum,
        })?;
    }
    print_far_usage(cpu_before_s)
}
