// SPDX-License-Identifier: Apache-2.0
//! Generates the readers and builders of the Cap'n Proto messages; needs the `capnp` tool.

fn main() {
    capnpc::CompilerCommand::new()
        .src_prefix("schema")
        .file("schema/messages.capnp")
        .run()
        .expect("the tool `capnp` (Debian: capnproto) compiles schema/messages.capnp");
}
