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
    let mut versions = BTreeMap::from([("libzmq", format!("{major}.{minor}.{patch}"))]);
    let mut lines = LOCK.lines();
    while let Some(line) = lines.next() {
        let name = quoted(line, "name = ");
        let known = CRATES.iter().find(|known| name == Some(known));
        if let (Some(name), Some(version)) = (known, lines.clone().next()) {
            versions.insert(name, quoted(version, "version = ").unwrap_or("?").to_owned());
        }
    }
    print_line(&versions)
}

fn quoted<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.strip_prefix(key).map(|value| value.trim_matches('"'))
}
