// SPDX-License-Identifier: Apache-2.0
//! Row large: arrays one way over a PAIR, without copying them in user space.

use std::ffi::c_void;
use std::sync::Arc;

use crate::common::{
    argument, own_cpu_s, print_far_usage, print_line, require, warm_up_of, FarEnd, Figures, Outcome, Phase,
};
use crate::link::{bind, close_at_once, connect, pair_socket};

const PAGE: usize = 4096;

/// Counted in libzmq 4.3.4: a message of init_data is written from where it lies; of a large message that comes, at
/// most 8192 bytes pass through the read buffer, and the rest is received into the message's own memory.
const COPIES: u32 = 0;

/// One byte of each page, so that the array is really there.
fn touch(array: &[u8]) -> u64 {
    array.iter().step_by(PAGE).map(|&byte| u64::from(byte)).sum()
}

/// COUNT BYTES
struct Work {
    count: u64,
    bytes: usize,
}

impl Work {
    fn parse(arguments: &[String], index: usize) -> Outcome<Self> {
        Ok(Self {
            count: argument(arguments, index, "COUNT")?,
            bytes: argument(arguments, index + 1, "BYTES")?,
        })
    }
}

/// `large COUNT BYTES`
pub fn run(arguments: &[String]) -> Outcome<()> {
    let work = Work::parse(arguments, 0)?;
    let warm_up = warm_up_of(work.count);
    let context = zmq::Context::new();
    let mut socket = pair_socket(&context, work.bytes)?;
    close_at_once(&socket)?;
    let port = bind(&socket)?;
    let far = vec![FarEnd::start(
        &[
            "large-peer".to_owned(),
            port.to_string(),
            warm_up.to_string(),
            work.count.to_string(),
            work.bytes.to_string(),
        ],
        false,
    )?];
    let array: Arc<[u8]> = (0..work.bytes)
        .map(|index| (index / PAGE % 251 + 1) as u8)
        .collect();
    exchange(&mut socket, &array, warm_up)?;
    let phase = Phase::start(&far);
    let seen = exchange(&mut socket, &array, work.count)?;
    let stopped = phase.stop(&far);
    let per_second = work.count as f64 / stopped.seconds;
    let spent = stopped.finish(far)?;
    print_line(&Figures {
        per_second: Some(per_second),
        bytes_per_second: Some(per_second * work.bytes as f64),
        copies: Some(COPIES),
        ..Figures::new(seen.0, seen.1, &spent)
    })
}

fn exchange(socket: &mut zmq::Socket, array: &Arc<[u8]>, count: u64) -> Outcome<(u64, u64)> {
    for _ in 0..count {
        send_shared(socket, array.clone())?;
    }
    let mut report = [0; 16];
    if socket.recv_into(&mut report, 0)? != report.len() {
        return Err("the far end's report has another size".into());
    }
    let [seen, checksum]: [u64; 2] = bytemuck::cast(report);
    require((seen, checksum), (count, count.wrapping_mul(touch(array))))?;
    Ok((seen, checksum))
}

/// The crate takes arrays without a copy only where it may free them, and then each array is sent once. This
/// gives libzmq a share of one that lives on.
fn send_shared(socket: &mut zmq::Socket, array: Arc<[u8]>) -> Outcome<()> {
    unsafe extern "C" fn release(_: *mut c_void, hint: *mut c_void) {
        // SAFETY: the hint is the box made below, and libzmq calls this once.
        drop(unsafe { Box::from_raw(hint.cast::<Arc<[u8]>>()) });
    }
    let (data, size) = (array.as_ptr(), array.len());
    let hint = Box::into_raw(Box::new(array));
    let mut message = zmq_sys::zmq_msg_t::default();
    // SAFETY: the share in `hint` keeps the bytes until libzmq has sent them, and nobody writes into them. After a
    // successful send the message is libzmq's; otherwise closing it gives the share back.
    unsafe {
        if zmq_sys::zmq_msg_init_data(
            &mut message,
            data.cast_mut().cast(),
            size,
            Some(release),
            hint.cast(),
        ) != 0
        {
            drop(Box::from_raw(hint));
            return Err(std::io::Error::last_os_error().into());
        }
        if zmq_sys::zmq_msg_send(&mut message, socket.as_mut_ptr(), 0) < 0 {
            let error = std::io::Error::last_os_error();
            zmq_sys::zmq_msg_close(&mut message);
            return Err(error.into());
        }
    }
    Ok(())
}

/// `large-peer PORT WARMUP COUNT BYTES`
pub fn run_peer(arguments: &[String]) -> Outcome<()> {
    let port = argument(arguments, 0, "PORT")?;
    let warm_up: u64 = argument(arguments, 1, "WARMUP")?;
    let work = Work::parse(arguments, 2)?;
    let context = zmq::Context::new();
    let socket = pair_socket(&context, work.bytes)?;
    connect(&socket, port)?;
    let mut array = zmq::Message::new();
    let mut cpu_before_s = 0.0;
    for wanted in [warm_up, work.count] {
        cpu_before_s = own_cpu_s();
        let mut checksum = 0u64;
        for _ in 0..wanted {
            socket.recv(&mut array, 0)?;
            if array.len() != work.bytes {
                return Err(format!("got {} bytes, expected {}", array.len(), work.bytes).into());
            }
            checksum = checksum.wrapping_add(touch(&array));
        }
        socket.send(bytemuck::bytes_of(&[wanted, checksum]), 0)?;
    }
    print_far_usage(cpu_before_s)
}
