# The pair's envelope, as plexo 1.0.0 and the Rust programs beside it define it.
@0xeed5242d4faed181;

struct PlexoMessage {
  typeName @0 :Text;
  payload @1 :Data;
}
