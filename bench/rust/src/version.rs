// SPDX-License-Identifier: Apache-2.0
//! What was measured: the versions of libzmq and of the crates that count.

use std::collections::BTreeMap;

use crate::common::{print_line, Outcome};

const LOCK: &str = include_str!("../Cargo.lock");
const CRATES: &[&str] = &[
    "plexor-core",
    "tokio",
    "zmq",
    "zmq-sys",
    "zeromq-src",
    "capnp",
    "rmp-serde",
];

/// `version`
pub fn run(_: &[String]) -> Outcome<()> {
    let (major, minor, patch) = zmq::version();
    let mut versions = BTreeMap::from([
        ("libzmq", format!("{major}.{minor}.{patch}")),
        ("libzmq signals by", signaler()?.to_owned()),
    ]);
    for (name, version) in LOCK.lines().zip(LOCK.lines().skip(1)) {
        let name = quoted(name, "name = ");
        if let Some(known) = CRATES.iter().find(|known| name == Some(known)) {
            versions.insert(known, quoted(version, "version = ").unwrap_or("?").to_owned());
        }
    }
    print_line(&versions)
}

fn quoted<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.strip_prefix(key).map(|value| value.trim_matches('"'))
}

/// How libzmq was compiled to wake its threads; see .cargo/config.toml.
fn signaler() -> Outcome<&'static str> {
    let context = zmq::Context::new();
    let socket = context.socket(zmq::PAIR)?;
    let what = std::fs::read_link(format!("/proc/self/fd/{}", socket.get_fd()?))?;
    Ok(if what.to_string_lossy().contains("eventfd") {
        "eventfd"
    } else {
        "socketpair"
    })
}
