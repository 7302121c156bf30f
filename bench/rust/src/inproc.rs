// SPDX-License-Identifier: Apache-2.0
//! Row inproc: the crate plexor-core, through its Plexus or through its GanglionInprocess alone.
//!
//! Its transmit awaits the reactants, so that nothing is left to wait for after the last one.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use plexor_core::axon::{Axon, AxonError, AxonImpl};
use plexor_core::codec::PassthroughCodec;
use plexor_core::erasure::reactant::{erase_reactant, ReactantErased};
use plexor_core::ganglion::{Ganglion, GanglionInprocess, GanglionInternal};
use plexor_core::namespace::DynamicNamespace;
use plexor_core::neuron::NeuronImpl;
use plexor_core::payload::Payload;
use plexor_core::plexus::Plexus;
use plexor_core::reactant::{Reactant, ReactantError};
use tokio::sync::Mutex;

use crate::common::{argument, print_line, require, warm_up_of, Figures, Outcome, Phase};
use crate::messages::{checksum_of, Reading, DIFFERENT};

/// Small and without a heap, so that handing it over by value is a move of 40 bytes.
type Sample = Reading<'static>;
type SampleNeuron = Arc<NeuronImpl<Sample, PassthroughCodec>>;

/// What all reactants saw. Static, because each reaction is a future that borrows nothing.
static SEEN_COUNT: AtomicU64 = AtomicU64::new(0);
static SEEN_CHECKSUM: AtomicU64 = AtomicU64::new(0);

#[derive(Clone)]
struct Counter;

impl Reactant<Sample, PassthroughCodec> for Counter {
    fn react(
        &self,
        payload: Arc<Payload<Sample, PassthroughCodec>>,
    ) -> Pin<Box<dyn Future<Output = Result<(), ReactantError>> + Send + 'static>> {
        Box::pin(async move {
            SEEN_COUNT.fetch_add(1, Ordering::Relaxed);
            SEEN_CHECKSUM.fetch_add(u64::from(payload.value.sequence), Ordering::Relaxed);
            Ok(())
        })
    }

    fn erase(self: Box<Self>) -> Arc<dyn ReactantErased + Send + Sync + 'static> {
        erase_reactant(self)
    }
}

/// `inproc COUNT REACTANTS NEURONS plexus|ganglion`
pub fn run(arguments: &[String]) -> Outcome<()> {
    let count = argument(arguments, 0, "COUNT")?;
    let reactants = argument(arguments, 1, "REACTANTS")?;
    let neurons = argument(arguments, 2, "NEURONS")?;
    let through: String = argument(arguments, 3, "plexus or ganglion")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().build()?;
    let figures = match through.as_str() {
        "plexus" => runtime.block_on(async {
            let plexus = Plexus::new_shared(vec![], vec![]).await;
            measure(plexus, count, reactants, neurons).await
        }),
        "ganglion" => runtime.block_on(measure(
            GanglionInprocess::new_shared(),
            count,
            reactants,
            neurons,
        )),
        _ => Err(format!("expected plexus or ganglion, got {through:?}").into()),
    }?;
    print_line(&figures)
}

async fn measure<G>(ganglion: Arc<Mutex<G>>, count: u64, reactants: usize, neurons: usize) -> Outcome<Figures>
where
    G: Ganglion + GanglionInternal + Send + Sync + 'static,
{
    let known: Vec<SampleNeuron> = (0..neurons.max(1))
        .map(|index| {
            let namespace = DynamicNamespace::from_str(&format!("bench.n{index}"), ".");
            NeuronImpl::new_arc(Arc::new(namespace))
        })
        .collect();
    for neuron in &known {
        // In two steps: the lock is not for waiting.
        let adapting = ganglion.lock().await.adapt(neuron.clone());
        adapting.await?;
    }
    let mut axon = AxonImpl::new(known[known.len() / 2].clone(), ganglion);
    axon.react((0..reactants).map(|_| Box::new(Counter) as Box<_>).collect())
        .await?;

    // A task of its own: the runtime's first future would run on a thread outside of its workers.
    let stopped = tokio::spawn(async move {
        transmit(&mut axon, warm_up_of(count)).await?;
        SEEN_COUNT.store(0, Ordering::Relaxed);
        SEEN_CHECKSUM.store(0, Ordering::Relaxed);
        let phase = Phase::start(&[]);
        transmit(&mut axon, count).await?;
        Ok::<_, AxonError>(phase.stop(&[]))
    })
    .await??;

    let seen = (
        SEEN_COUNT.load(Ordering::Relaxed),
        SEEN_CHECKSUM.load(Ordering::Relaxed),
    );
    let each = reactants as u64;
    require(seen, (each * count, each.wrapping_mul(checksum_of(count))))?;
    let per_second = count as f64 / stopped.seconds;
    let spent = stopped.finish(vec![])?;
    Ok(Figures {
        per_second: Some(per_second),
        ..Figures::new(seen.0, seen.1, &spent)
    })
}

async fn transmit(axon: &mut AxonImpl<Sample, PassthroughCodec>, count: u64) -> Result<(), AxonError> {
    for sample in (0..DIFFERENT).map(Reading::of).cycle().take(count as usize) {
        axon.transmit(sample).await?;
    }
    Ok(())
}
