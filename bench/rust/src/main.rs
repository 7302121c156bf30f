// SPDX-License-Identifier: Apache-2.0
//! Rivals and far ends in Rust: `rivals COMMAND [ARGUMENT ...]` measures one thing once, see README.md.

mod common;
mod fanout;
mod ingest;
mod inproc;
mod large;
mod link;
mod messages;
mod pair;
mod rtt;
mod version;

/// What build.rs makes of schema/messages.capnp.
#[allow(clippy::all, dead_code)]
mod messages_capnp {
    include!(concat!(env!("OUT_DIR"), "/messages_capnp.rs"));
}

use std::process::ExitCode;

use common::Outcome;

type Command = fn(&[String]) -> Outcome<()>;

const COMMANDS: &[(&str, Command)] = &[
    ("version", version::run),
    ("inproc", inproc::run),
    ("pair", pair::run),
    ("pair-peer", pair::run_peer),
    ("rtt", rtt::run),
    ("rtt-peer", rtt::run_peer),
    ("rttload", rtt::run_load),
    ("rttload-peer", rtt::run_load_peer),
    ("fanout", fanout::run),
    ("fanout-peer", fanout::run_peer),
    ("ingest", ingest::run),
    ("ingest-peer", ingest::run_peer),
    ("large", large::run),
    ("large-peer", large::run_peer),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let found = arguments
        .first()
        .and_then(|name| COMMANDS.iter().find(|(known, _)| known == name));
    let Some((name, command)) = found else {
        let known: Vec<_> = COMMANDS.iter().map(|(name, _)| *name).collect();
        eprintln!("usage: rivals {{{}}} [ARGUMENT ...]", known.join(","));
        return ExitCode::from(2);
    };
    common::start_watchdog();
    match command(&arguments[1..]) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rivals {name}: {error}");
            ExitCode::FAILURE
        }
    }
}
