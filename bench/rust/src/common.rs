// SPDX-License-Identifier: Apache-2.0
//! What all commands share: figures, clocks, and the process at the other end.

use std::env;
use std::error::Error;
use std::fmt::Display;
use std::io::{BufRead, BufReader, Write};
use std::mem::MaybeUninit;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::str::FromStr;
use std::time::{Duration, Instant};

use serde::Serialize;

pub type Outcome<T> = Result<T, Box<dyn Error>>;

/// Bounds every run, so that a lost message ends it with an error and not never.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Replaces the command line of the far end, by one that speaks the same wire.
const FAR: &str = "PLEXO_BENCH_FAR";

/// The result of a driver; keys are present where they apply.
#[derive(Default, Serialize)]
pub struct Figures {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p999_us: Option<f64>,
    /// Row rttload: messages per second that were sent, half of `capacity`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<f64>,
    pub count: u64,
    pub checksum: u64,
    pub cpu_s: f64,
    pub peak_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copies: Option<u32>,
}

impl Figures {
    pub fn new(count: u64, checksum: u64, spent: &Spent) -> Self {
        Self {
            count,
            checksum,
            cpu_s: spent.cpu_s,
            peak_bytes: spent.peak_bytes,
            ..Self::default()
        }
    }

    /// Sets p50, p99 and p999 (nearest rank) from latencies in seconds.
    pub fn set_quantiles(&mut self, latencies_s: &mut [f64]) {
        latencies_s.sort_unstable_by(f64::total_cmp);
        let at = |thousandths: usize| {
            let rank = (latencies_s.len() * thousandths).div_ceil(1000);
            latencies_s.get(rank.wrapping_sub(1)).map(|seconds| 1e6 * seconds)
        };
        (self.p50_us, self.p99_us, self.p999_us) = (at(500), at(990), at(999));
    }
}

/// Prints one JSON object as a line.
pub fn print_line(figures: &impl Serialize) -> Outcome<()> {
    println!("{}", serde_json::to_string(figures)?);
    Ok(())
}

/// What a far end spent in its measured phase, for drivers that read its standard output.
pub fn print_far_usage(cpu_before_s: f64) -> Outcome<()> {
    #[derive(Serialize)]
    struct Usage {
        cpu_s: f64,
        peak_bytes: u64,
    }
    print_line(&Usage {
        cpu_s: own_cpu_s() - cpu_before_s,
        peak_bytes: own_peak_bytes(),
    })
}

/// Positional argument, with a message that names it.
pub fn argument<T>(arguments: &[String], index: usize, name: &str) -> Outcome<T>
where
    T: FromStr,
    T::Err: Display,
{
    let text = arguments.get(index).ok_or_else(|| format!("{name}: missing"))?;
    text.parse()
        .map_err(|error| format!("{name}: {error}, got {text:?}").into())
}

/// Warm-up: a tenth, but at least one message.
pub fn warm_up_of(count: u64) -> u64 {
    (count / 10).max(1)
}

/// Fails unless the work was done: a benchmark that skips messages is very fast.
pub fn require(seen: (u64, u64), expected: (u64, u64)) -> Outcome<()> {
    if seen == expected {
        return Ok(());
    }
    Err(format!(
        "seen were {} messages with checksum {}, expected {} with {}",
        seen.0, seen.1, expected.0, expected.1
    )
    .into())
}

/// Ends this process with a message when it takes too long.
pub fn start_watchdog() {
    std::thread::spawn(|| {
        std::thread::sleep(TIMEOUT);
        eprintln!("rivals: not done within {} s", TIMEOUT.as_secs());
        std::process::exit(3);
    });
}

fn usage_of(who: libc::c_int) -> libc::rusage {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: getrusage fills the struct; all zeros are a valid one where it fails.
    unsafe {
        libc::getrusage(who, usage.as_mut_ptr());
        usage.assume_init()
    }
}

fn cpu_s_of(usage: &libc::rusage) -> f64 {
    let seconds = |time: libc::timeval| time.tv_sec as f64 + 1e-6 * time.tv_usec as f64;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

/// CPU seconds of all threads of this process.
pub fn own_cpu_s() -> f64 {
    cpu_s_of(&usage_of(libc::RUSAGE_SELF))
}

/// Peak resident memory of this process. Not ru_maxrss: that begins with the peak of the process that started
/// this one, which is a Python with NumPy where far ends are mixed.
pub fn own_peak_bytes() -> u64 {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .as_deref()
        .and_then(|status| status.lines().find_map(|line| line.strip_prefix("VmHWM:")))
        .and_then(|field| field.trim().strip_suffix(" kB")?.trim().parse().ok())
        .map_or_else(
            || 1024 * usage_of(libc::RUSAGE_SELF).ru_maxrss as u64,
            |kib: u64| 1024 * kib,
        )
}

/// The process at the other end.
pub struct FarEnd {
    child: Child,
    lines: Option<BufReader<ChildStdout>>,
    ended: bool,
}

impl FarEnd {
    /// Starts this program with `arguments`, or what the environment says. `talks`: it gets lines and gives some.
    pub fn start(arguments: &[String], talks: bool) -> Outcome<Self> {
        let mut command = match env::var(FAR) {
            Ok(line) if !line.trim().is_empty() => {
                let words = split_words(&line)?;
                let mut command = Command::new(&words[0]);
                command.args(&words[1..]);
                command
            }
            _ => Command::new(env::current_exe()?),
        };
        let pipe = || if talks { Stdio::piped() } else { Stdio::null() };
        let mut child = command
            .args(arguments)
            .stdin(pipe())
            .stdout(pipe())
            .spawn()
            .map_err(|error| format!("cannot start the far end {command:?}: {error}"))?;
        let lines = child.stdout.take().map(BufReader::new);
        Ok(Self {
            child,
            lines,
            ended: false,
        })
    }

    /// The next line of its standard output.
    pub fn read_line(&mut self) -> Outcome<String> {
        let mut line = String::new();
        let lines = self.lines.as_mut().ok_or("the far end does not talk")?;
        if lines.read_line(&mut line)? == 0 {
            return Err("the far end ended early".into());
        }
        Ok(line)
    }

    pub fn write_line(&mut self, line: &str) -> Outcome<()> {
        let input = self.child.stdin.as_mut().ok_or("the far end does not listen")?;
        writeln!(input, "{line}")?;
        Ok(())
    }

    /// CPU seconds so far; None when it has ended.
    fn cpu_s(&self) -> Option<f64> {
        let mut clock: libc::clockid_t = 0;
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: both write what they are given; the process is our child and not reaped, so the id is its own.
        let read = unsafe {
            libc::clock_getcpuclockid(self.child.id() as libc::pid_t, &mut clock) == 0
                && libc::clock_gettime(clock, &mut time) == 0
        };
        read.then_some(time.tv_sec as f64 + 1e-9 * time.tv_nsec as f64)
    }

    /// Waits for its good end. Returns its CPU seconds and peak resident memory.
    fn finish(mut self) -> Outcome<(f64, u64)> {
        drop(self.child.stdin.take());
        let pid = self.child.id() as libc::pid_t;
        let mut status = 0;
        let mut usage = MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: wait4 fills both; the standard library is never asked to wait for this child.
        let usage = unsafe {
            if libc::wait4(pid, &mut status, 0, usage.as_mut_ptr()) != pid {
                return Err(std::io::Error::last_os_error().into());
            }
            usage.assume_init()
        };
        self.ended = true;
        if status != 0 {
            return Err(format!("the far end failed with wait status {status}").into());
        }
        Ok((cpu_s_of(&usage), 1024 * usage.ru_maxrss as u64))
    }
}

impl Drop for FarEnd {
    fn drop(&mut self) {
        if !self.ended {
            // Something failed here; what failed is said elsewhere.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// As Python's shlex for what command lines of far ends need: words, quotes, and backslashes.
fn split_words(line: &str) -> Outcome<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(open), _) if letter == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(letters.next()),
            (None, _) if letter.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    if quote.is_some() {
        return Err(format!("{FAR}: no closing quotation").into());
    }
    words.extend(word);
    Ok(words)
}

/// The measured phase: wall clock and CPU of all ends.
pub struct Phase {
    begin: Instant,
    own_cpu_s: f64,
    far_cpu_s: Vec<f64>,
}

impl Phase {
    pub fn start(far: &[FarEnd]) -> Self {
        Self {
            far_cpu_s: far.iter().map(|each| each.cpu_s().unwrap_or(0.0)).collect(),
            own_cpu_s: own_cpu_s(),
            begin: Instant::now(),
        }
    }

    pub fn seconds(&self) -> f64 {
        self.begin.elapsed().as_secs_f64()
    }

    pub fn stop(self, far: &[FarEnd]) -> Stopped {
        let seconds = self.seconds();
        Stopped {
            seconds,
            own_cpu_s: own_cpu_s() - self.own_cpu_s,
            far_cpu_s: self.far_cpu_s,
            far_stop_s: far.iter().map(FarEnd::cpu_s).collect(),
        }
    }
}

/// A phase that is over, while far ends may still be there.
pub struct Stopped {
    pub seconds: f64,
    own_cpu_s: f64,
    far_cpu_s: Vec<f64>,
    far_stop_s: Vec<Option<f64>>,
}

/// What all ends together spent.
pub struct Spent {
    pub cpu_s: f64,
    pub peak_bytes: u64,
}

impl Stopped {
    /// Waits for the far ends. One that was gone before its clock was read counts with its end.
    pub fn finish(self, far: Vec<FarEnd>) -> Outcome<Spent> {
        let mut spent = Spent {
            cpu_s: self.own_cpu_s,
            peak_bytes: own_peak_bytes(),
        };
        for ((each, start_s), stop_s) in far.into_iter().zip(self.far_cpu_s).zip(self.far_stop_s) {
            let (end_s, peak_bytes) = each.finish()?;
            spent.cpu_s += stop_s.unwrap_or(end_s) - start_s;
            spent.peak_bytes += peak_bytes;
        }
        Ok(spent)
    }
}
