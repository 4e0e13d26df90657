//! Killing the process of a long job again and again, at moments that differ.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How often a job is killed: `MMLENS_KILLS`, or a dozen times.
pub fn kills() -> usize {
    std::env::var("MMLENS_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(12)
}

/// Starts a job and kills it (SIGKILL), as often as [`kills`] says. A job that ends by itself before its moment has come
/// is begun anew: `start` is told how many have ended. `killed` looks at what each kill leaves, `ended` at what a job leaves
/// that came to its end. The last job is let come to its end.
///
/// The moments are spread evenly over `longest`, in an order that jumps, so that they do not follow how far a job has come.
///
/// # Panics
/// If a job fails, or takes longer than ten minutes.
pub fn kill_again_and_again(
    longest: Duration,
    mut start: impl FnMut(usize) -> Command,
    mut killed: impl FnMut(usize),
    mut ended: impl FnMut(usize),
) {
    let wanted = kills();
    let (mut kills, mut jobs) = (0_usize, 0_usize);
    let mut turns = 0_usize;
    while kills < wanted {
        assert!(turns < 20 * wanted + 20, "the jobs end before they can be killed: {kills} of {wanted}");
        // The golden ratio visits every part of an interval soon.
        let moment = longest.mul_f64((turns as f64 * 0.618_033_988_749_895).fract());
        turns += 1;
        let mut child = spawn(&mut start(jobs));
        std::thread::sleep(moment);
        if let Some(status) = child.try_wait().expect("the job can be waited for") {
            assert!(status.success(), "job {jobs}, after {kills} kills: {status}");
            ended(jobs);
            jobs += 1;
            continue;
        }
        child.kill().expect("the job can be killed");
        if child.wait().expect("the job can be waited for").success() {
            // It was quicker.
            ended(jobs);
            jobs += 1;
            continue;
        }
        kills += 1;
        killed(jobs);
    }
    let mut child = spawn(&mut start(jobs));
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("the job can be waited for") {
            break status;
        }
        if begun.elapsed() > Duration::from_secs(600) {
            let _ = child.kill();
            panic!("job {jobs}, after {kills} kills, does not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(status.success(), "job {jobs}, after {kills} kills: {status}");
    ended(jobs);
}

fn spawn(command: &mut Command) -> Child {
    command.stdout(Stdio::null()).spawn().expect("the job can be started")
}
