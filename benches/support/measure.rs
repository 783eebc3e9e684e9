//! Processes measured from outside: CPU, wall, peak memory.
//!
//! Promise: CPU is what the kernel says of the whole process, threads included, from its start to its end.
//! Not here: what they do.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

/// `/proc` counts CPU in hundredths of a second on every Linux that we run on.
const TICKS_A_SECOND: f64 = 100.0;

/// Between two looks at a process's peak memory.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// What a process cost.
#[derive(Clone, Debug, Default)]
pub struct Cost {
    /// User and system, seconds.
    pub cpu: f64,
    /// Seconds.
    pub wall: f64,
    /// Peak resident memory, MiB.
    pub peak_mib: f64,
    /// What it printed.
    pub output: String,
}

impl Cost {
    /// A row of a table, as BENCHMARKS.md has it.
    pub fn row(&self, name: &str, requests: u64) -> String {
        format!("| {name} | {:.2} | {:.2} | {:.1} | {requests} |", self.cpu, self.wall, self.peak_mib)
    }

    /// For a table.
    pub fn line(&self, name: &str, requests: u64) -> String {
        format!(
            "{name:<34} {:8.2} s CPU {:8.2} s wall {:7.1} MiB peak {requests:8} requests",
            self.cpu, self.wall, self.peak_mib
        )
    }
}

/// Runs a program to its end.
pub fn run(command: &mut Command) -> Cost {
    run_with_output(command, Stdio::piped())
}

/// The same; what it prints goes nowhere.
pub fn run_quietly(command: &mut Command) -> Cost {
    run_with_output(command, Stdio::null())
}

fn run_with_output(command: &mut Command, output: Stdio) -> Cost {
    let began = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(output).spawn().expect("the program starts");
    let pid = pid(&child);
    let mut peak_mib = 0.0_f64;
    loop {
        peak_mib = peak_mib.max(peak(child.id()));
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        if waitid(WaitId::Pid(pid), options).expect("a child").is_some() {
            break;
        }
        sleep(LOOK_EVERY);
    }
    let (wall, cpu) = (began.elapsed().as_secs_f64(), cpu(child.id()));
    let status = child.wait().expect("a child");
    assert!(status.success(), "{command:?}: {status}");
    let output = child.stdout.take().map(|mut out| std::io::read_to_string(&mut out).unwrap_or_default());
    Cost { cpu, wall, peak_mib, output: output.unwrap_or_default() }
}

/// CPU that a process and its ended children have used so far, seconds: some programs come as a script that starts them.
pub fn cpu(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let ticks: u64 = fields.split(' ').skip(11).take(4).filter_map(|field| field.parse::<u64>().ok()).sum();
    ticks as f64 / TICKS_A_SECOND
}

/// Peak resident memory so far of a process or of its largest child, MiB.
pub fn peak(pid: u32) -> f64 {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|child| child.parse().ok()).map(peak_of);
    children.fold(peak_of(pid), f64::max)
}

fn peak_of(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: f64 = peak.and_then(|kib| kib.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0.0);
    kib / 1024.0
}

/// A ratio, and what it must keep to.
#[derive(Clone, Debug)]
pub struct Bar {
    pub what: String,
    pub measured: f64,
    pub least: Option<f64>,
    pub most: Option<f64>,
}

/// Prints what was measured as `BENCHMARKS.md` has it.
pub fn table(bars: &[Bar]) {
    super::say("\n| what | measured | bar | reached |\n| --- | --- | --- | --- |");
    for Bar { what, measured, least, most } in bars {
        let reached = least.is_none_or(|least| *measured >= least) && most.is_none_or(|most| *measured <= most);
        let least = least.map(|least| format!("at least {least}"));
        let bar: Vec<String> = least.into_iter().chain(most.map(|most| format!("at most {most}"))).collect();
        let reached = if reached { "yes" } else { "**no**" };
        super::say(format_args!("| {what} | {measured:.2} | {} | {reached} |", bar.join(", ")));
    }
}

fn pid(child: &Child) -> Pid {
    let id = i32::try_from(child.id()).expect("process ids are small");
    Pid::from_raw(id).expect("process ids are above zero")
}
