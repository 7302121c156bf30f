// SPDX-License-Identifier: Apache-2.0
//! `tank publish PORT` publishes readings, `tank log PORT` shows those that somebody publishes there.

use std::env;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use plexor_codec_serde_json::SerdeJsonCodec;
use plexor_core::namespace::NamespaceImpl;
use plexor_core::neuron::{Neuron, NeuronImpl};
use serde::{Deserialize, Serialize};
use zeromq::{PubSocket, Socket, SocketRecv, SocketSend, SubSocket, ZmqMessage};

#[derive(Debug, Serialize, Deserialize)]
struct Reading {
    tank: String,
    number: u32,
    celsius: f64,
}

type Outcome = Result<(), Box<dyn Error>>;

async fn publish(neuron: &impl Neuron<Reading, SerdeJsonCodec>, endpoint: &str) -> Outcome {
    let mut socket = PubSocket::new();
    println!(
        "publishing {} at {}",
        neuron.name(),
        socket.bind(endpoint).await?
    );
    for number in 1.. {
        let reading = Reading {
            tank: "rust-1".into(),
            number,
            celsius: 18.5,
        };
        // Two frames: the topic, and what the codec makes of the value.
        let mut message = ZmqMessage::from(neuron.name());
        message.push_back(neuron.encode(&reading)?.into());
        socket.send(message).await?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

async fn log(neuron: &impl Neuron<Reading, SerdeJsonCodec>, endpoint: &str) -> Outcome {
    let mut socket = SubSocket::new();
    socket.connect(endpoint).await?;
    socket.subscribe(&neuron.name()).await?;
    loop {
        let message = socket.recv().await?;
        let (Some(topic), Some(payload)) = (message.get(0), message.get(1)) else {
            continue;
        };
        // A subscription is a prefix, so that longer topics come too.
        if topic[..] != *neuron.name().as_bytes() {
            continue;
        }
        match neuron.decode(payload) {
            Ok(reading) => println!(
                "{} #{}: {:.1} degrees",
                reading.tank, reading.number, reading.celsius
            ),
            Err(error) => eprintln!("dropped: {error}"),
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    let arguments: Vec<String> = env::args().collect();
    let [_, role, port] = &arguments[..] else {
        return Err("expected: tank publish PORT, or tank log PORT".into());
    };
    let namespace = NamespaceImpl {
        delimiter: ".",
        parts: vec!["org", "brewery", "sake"],
    };
    // The topic is its name: org.brewery.sake.Reading.json.
    let neuron = NeuronImpl::<Reading, SerdeJsonCodec>::new(Arc::new(namespace));
    let endpoint = format!("tcp://127.0.0.1:{port}");
    match role.as_str() {
        "publish" => publish(&neuron, &endpoint).await,
        "log" => log(&neuron, &endpoint).await,
        _ => Err(format!("expected publish or log, got {role}").into()),
    }
}
