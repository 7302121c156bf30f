// SPDX-License-Identifier: Apache-2.0
//! The messages of the board, as MessagePack and as Cap'n Proto.

use capnp::traits::Owned;
use serde::{Deserialize, Serialize};

use crate::messages_capnp as schema;

/// Different values that a run cycles through: a sender that repeats one object measures its cache.
pub const DIFFERENT: u64 = 1000;
/// From here on MessagePack gives an integer five bytes, so that every message is equally long.
pub const FIRST_SEQUENCE: u32 = 1 << 16;

pub const SENSOR: &str = "tank-1/upper";
pub const FIRST_TIME: f64 = 1700000000.25;
pub const VALUE: f64 = 21.5;

/// The sequence of message `index` of a phase.
pub fn sequence_of(index: u64) -> u32 {
    FIRST_SEQUENCE + (index % DIFFERENT) as u32
}

/// The sum of the sequences of the first `count` messages of a phase.
pub fn checksum_of(count: u64) -> u64 {
    let of_one_round = |rest: u64| rest * u64::from(FIRST_SEQUENCE) + rest * rest.saturating_sub(1) / 2;
    count / DIFFERENT * of_one_round(DIFFERENT) + of_one_round(count % DIFFERENT)
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Style {
    Msgpack,
    Capnp,
}

impl Style {
    pub fn name(self) -> &'static str {
        match self {
            Self::Msgpack => "msgpack",
            Self::Capnp => "capnp",
        }
    }

    /// Of a driver: MessagePack where nothing is said.
    pub fn parse(argument: Option<&String>) -> Result<Self, String> {
        match argument.map(String::as_str) {
            None | Some("msgpack") => Ok(Self::Msgpack),
            Some("capnp") => Ok(Self::Capnp),
            Some(other) => Err(format!("STYLE: expected msgpack or capnp, got {other:?}")),
        }
    }

    /// Of a far end: drivers in other languages have styles of their own (which event loop, say), and all of those
    /// send MessagePack.
    pub fn of_peer(argument: Option<&String>) -> Self {
        Self::parse(argument).unwrap_or(Self::Msgpack)
    }
}

#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Reading<'a> {
    pub sensor: &'a str,
    pub time: f64,
    pub value: f64,
    pub sequence: u32,
}

/// The answer to a Reading, of a type of its own.
#[derive(Serialize, Deserialize)]
pub struct Echo<'a> {
    pub sensor: &'a str,
    pub time: f64,
    pub value: f64,
    pub sequence: u32,
}

#[derive(Serialize, Deserialize)]
pub struct Small {
    pub sequence: u32,
    pub value: f64,
    pub kind: u8,
}

#[derive(Serialize, Deserialize)]
pub struct Block<'a> {
    pub sequence: u32,
    #[serde(with = "serde_bytes")]
    pub data: &'a [u8],
}

/// What the far end has seen since its last report.
#[derive(Serialize, Deserialize)]
pub struct Seen {
    pub count: u64,
    pub checksum: u64,
}

impl Reading<'_> {
    pub fn of(index: u64) -> Reading<'static> {
        Reading {
            sensor: SENSOR,
            time: FIRST_TIME + (index % DIFFERENT) as f64,
            value: VALUE,
            sequence: sequence_of(index),
        }
    }
}

pub type ReaderOf<'a, K> = <<K as Kind>::Struct as Owned>::Reader<'a>;
pub type BuilderOf<'a, K> = <<K as Kind>::Struct as Owned>::Builder<'a>;

/// A kind of message: its topics, its values, and how it is read and written.
pub trait Kind: Sized {
    const MSGPACK_TOPIC: &'static str;
    const CAPNP_TOPIC: &'static str;
    /// As a MessagePack map with names; otherwise as an array.
    const NAMED: bool = true;

    type Value<'a>: Serialize + Deserialize<'a>;
    type Struct: Owned;

    fn write(value: &Self::Value<'_>, into: BuilderOf<'_, Self>);

    fn read<'a>(from: ReaderOf<'a, Self>) -> capnp::Result<Self::Value<'a>>;

    fn topic(style: Style) -> &'static str {
        match style {
            Style::Msgpack => Self::MSGPACK_TOPIC,
            Style::Capnp => Self::CAPNP_TOPIC,
        }
    }
}

/// A kind that the rows pair, rtt and rttload send by the thousand.
pub trait Sequenced: Kind {
    /// Message `index` of a phase; `data` is what blocks carry.
    fn of(index: u64, data: &[u8]) -> Self::Value<'_>;

    fn sequence(value: &Self::Value<'_>) -> u32;
}

pub struct Readings;
pub struct Echoes;
pub struct Smalls;
pub struct Blocks;
pub struct Reports;

impl Kind for Readings {
    const MSGPACK_TOPIC: &'static str = "bench.Reading.msgpack";
    const CAPNP_TOPIC: &'static str = "bench.Reading.capnp";

    type Value<'a> = Reading<'a>;
    type Struct = schema::reading::Owned;

    fn write(value: &Reading<'_>, mut into: BuilderOf<'_, Self>) {
        into.set_sensor(value.sensor);
        into.set_time(value.time);
        into.set_value(value.value);
        into.set_sequence(value.sequence);
    }

    fn read<'a>(from: ReaderOf<'a, Self>) -> capnp::Result<Self::Value<'a>> {
        Ok(Reading {
            sensor: from.get_sensor()?.to_str()?,
            time: from.get_time(),
            value: from.get_value(),
            sequence: from.get_sequence(),
        })
    }
}

impl Sequenced for Readings {
    fn of(index: u64, _: &[u8]) -> Reading<'_> {
        Reading::of(index)
    }

    fn sequence(value: &Reading<'_>) -> u32 {
        value.sequence
    }
}

impl Kind for Echoes {
    const MSGPACK_TOPIC: &'static str = "bench.Echo.msgpack";
    const CAPNP_TOPIC: &'static str = "bench.Echo.capnp";

    type Value<'a> = Echo<'a>;
    type Struct = schema::echo::Owned;

    fn write(value: &Echo<'_>, mut into: BuilderOf<'_, Self>) {
        into.set_sensor(value.sensor);
        into.set_time(value.time);
        into.set_value(value.value);
        into.set_sequence(value.sequence);
    }

    fn read<'a>(from: ReaderOf<'a, Self>) -> capnp::Result<Self::Value<'a>> {
        Ok(Echo {
            sensor: from.get_sensor()?.to_str()?,
            time: from.get_time(),
            value: from.get_value(),
            sequence: from.get_sequence(),
        })
    }
}

impl Kind for Smalls {
    const MSGPACK_TOPIC: &'static str = "bench.Small.msgpack";
    const CAPNP_TOPIC: &'static str = "bench.Small.capnp";
    const NAMED: bool = false;

    type Value<'a> = Small;
    type Struct = schema::small::Owned;

    fn write(value: &Small, mut into: BuilderOf<'_, Self>) {
        into.set_sequence(value.sequence);
        into.set_value(value.value);
        into.set_kind(value.kind);
    }

    fn read<'a>(from: ReaderOf<'a, Self>) -> capnp::Result<Self::Value<'a>> {
        Ok(Small {
            sequence: from.get_sequence(),
            value: from.get_value(),
            kind: from.get_kind(),
        })
    }
}

impl Sequenced for Smalls {
    fn of(index: u64, _: &[u8]) -> Small {
        Small {
            sequence: sequence_of(index),
            value: VALUE,
            kind: 7,
        }
    }

    fn sequence(value: &Small) -> u32 {
        value.sequence
    }
}

impl Kind for Blocks {
    const MSGPACK_TOPIC: &'static str = "bench.Block.msgpack";
    const CAPNP_TOPIC: &'static str = "bench.Block.capnp";

    type Value<'a> = Block<'a>;
    type Struct = schema::block::Owned;

    fn write(value: &Block<'_>, mut into: BuilderOf<'_, Self>) {
        into.set_sequence(value.sequence);
        into.set_data(value.data);
    }

    fn read<'a>(from: ReaderOf<'a, Self>) -> capnp::Result<Self::Value<'a>> {
        Ok(Block {
            sequence: from.get_sequence(),
            data: from.get_data()?,
        })
    }
}

impl Sequenced for Blocks {
    fn of(index: u64, data: &[u8]) -> Block<'_> {
        Block {
            sequence: sequence_of(index),
            data,
        }
    }

    fn sequence(value: &Block<'_>) -> u32 {
        value.sequence
    }
}

impl Kind for Reports {
    const MSGPACK_TOPIC: &'static str = "bench.Seen.msgpack";
    const CAPNP_TOPIC: &'static str = "bench.Seen.capnp";

    type Value<'a> = Seen;
    type Struct = schema::seen::Owned;

    fn write(value: &Seen, mut into: BuilderOf<'_, Self>) {
        into.set_count(value.count);
        into.set_checksum(value.checksum);
    }

    fn read<'a>(from: ReaderOf<'a, Self>) -> capnp::Result<Self::Value<'a>> {
        Ok(Seen {
            count: from.get_count(),
            checksum: from.get_checksum(),
        })
    }
}

/// The bytes that pad a Block to `size` when encoded in `style`; `size` is one that the board has.
pub fn block_data(size: usize, style: Style) -> Vec<u8> {
    let around = match style {
        // A map of two, "sequence" and its five bytes, "data" and the three bytes of a bin 16.
        Style::Msgpack => 1 + 9 + 5 + 5 + 3,
        // Segment table, root pointer, a word of data, a pointer.
        Style::Capnp => 4 * 8,
    };
    (0..size.saturating_sub(around))
        .map(|index| index as u8)
        .collect()
}
