//! What a second core is worth: the same seeds of the plain family on one thread and on two.
//!
//! ```text
//! cargo run --release -p stormproof-simulator --example two_cores -- 200
//! ```
//!
//! Prints wall time, CPU time, and how many cores the machine really gave. Where others use the machine, the last is
//! below the number of threads and says so; the CPU time that a run takes then still tells whether threads disturb
//! each other.

use std::process::ExitCode;
use std::sync::Arc;

use stormproof_simulator::study::families::family;
use stormproof_simulator::study::{Contender, Policy, replicate};

#[expect(clippy::print_stderr, reason = "an example talks to its terminal")]
fn main() -> ExitCode {
    let seeds = std::env::args().nth(1).map_or(Ok(200), |text| text.parse());
    let measured = seeds.map_err(|error| format!("the number of seeds: {error}")).and_then(print_both);
    match measured {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(2)
        }
    }
}

#[expect(clippy::print_stdout, reason = "an example talks to its terminal")]
fn print_both(seeds: u32) -> Result<(), String> {
    println!("{:<8} {:>8} {:>8} {:>12}", "threads", "wall s", "CPU s", "cores given");
    let [one, two] = [measure(1, seeds)?, measure(2, seeds)?];
    for (threads, time) in [(1, &one), (2, &two)] {
        println!("{threads:<8} {:>8.2} {:>8.2} {:>12.2}", time.wall_s, time.cpu_s, time.cpu_s / time.wall_s);
    }
    println!("speed-up {:.2} x by the clock; CPU time {:.2} x", one.wall_s / two.wall_s, two.cpu_s / one.cpu_s);
    Ok(())
}

/// What a study took.
struct Time {
    wall_s: f64,
    cpu_s: f64,
}

#[expect(clippy::disallowed_methods, reason = "the wall clock is what is measured here")]
fn measure(threads: usize, seeds: u32) -> Result<Time, String> {
    let case = family("c").ok_or("there is no family c")?.case();
    let policy = Policy::Stormproof(Arc::clone(&case.settings));
    let contender = Contender { name: "stormproof".to_owned(), policy };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().map_err(|error| error.to_string())?;
    let (began, used) = (std::time::Instant::now(), cpu_s());
    pool.install(|| replicate(&case, &contender, seeds, false, &|| {})).map_err(|error| error.to_string())?;
    Ok(Time { wall_s: began.elapsed().as_secs_f64(), cpu_s: cpu_s() - used })
}

/// CPU time of all threads of this process so far, from the kernel's books in hundredths of a second; 0 where the
/// system does not say.
fn cpu_s() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second field is the program's name in parentheses, and may hold spaces.
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}
