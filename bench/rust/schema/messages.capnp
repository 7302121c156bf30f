# SPDX-License-Identifier: Apache-2.0
# The envelope of the pair (docs/wire.md) and the messages of the board with Cap'n Proto payloads.
@0xb2f7a1c05d3e8846;

struct PlexoMessage @0xeed5242d4faed181 {
  typeName @0 :Text;
  payload  @1 :Data;
}

struct Reading {
  sensor   @0 :Text;
  time     @1 :Float64;
  value    @2 :Float64;
  sequence @3 :UInt32;
}

struct Echo {
  sensor   @0 :Text;
  time     @1 :Float64;
  value    @2 :Float64;
  sequence @3 :UInt32;
}

struct Small {
  sequence @0 :UInt32;
  value    @1 :Float64;
  kind     @2 :UInt8;
}

struct Block {
  sequence @0 :UInt32;
  data     @1 :Data;
}

struct Seen {
  count    @0 :UInt64;
  checksum @1 :UInt64;
}
