//! What this process can still take of the machine's memory, and sizes in words.

use std::path::Path;

/// Passes below this are begun without a look at the machine.
const SMALL: u64 = 1 << 28;

/// Bytes that this process can still take, as far as the system tells (Linux): what is available without swapping, within
/// what its control group and its limit of address space leave. Nothing is sized by it; it is what a refusal rests on.
fn left() -> Option<u64> {
    let first_number = |text: &str| text.split_whitespace().find_map(|word| word.parse::<u64>().ok());
    let read = |path: &str| std::fs::read_to_string(Path::new(path)).ok();
    let entry = |text: &str, name: &str| text.lines().find_map(|line| first_number(line.strip_prefix(name)?));
    let available = read("/proc/meminfo").and_then(|text| Some(entry(&text, "MemAvailable:")? * 1024));
    // Pages of files that were read are counted to a group, but given back.
    let group = |limit: &str, stat: &str, name: &str| {
        let limit = first_number(&read(limit)?)?;
        let taken = entry(&read(stat)?, name)?;
        Some(limit.saturating_sub(taken))
    };
    let groups = [
        group("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.stat", "anon "),
        group(
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/memory.stat",
            "total_rss ",
        ),
    ];
    let limit = read("/proc/self/limits").and_then(|text| entry(&text, "Max address space"));
    let taken = read("/proc/self/status").and_then(|text| Some(entry(&text, "VmSize:")? * 1024));
    let space = limit.zip(taken).map(|(limit, taken)| limit.saturating_sub(taken));
    groups.into_iter().chain([available, space]).flatten().min()
}

/// What is left, where it is less than so many bytes.
pub(crate) fn lacking(bytes: u64) -> Option<u64> {
    if bytes < SMALL { None } else { left().filter(|left| *left < bytes) }
}

/// A number of bytes as a person reads it, rounded up to three digits: `6.83 GB`.
pub fn size(bytes: u64) -> String {
    let units = [(12, "TB"), (9, "GB"), (6, "MB"), (3, "kB")].map(|(power, name)| (10_u64.pow(power), name));
    let Some((unit, name)) = units.into_iter().find(|(unit, _)| bytes >= *unit) else {
        return format!("{bytes} bytes");
    };
    let whole = bytes as f64 / unit as f64;
    let digits = if whole >= 100.0 {
        0
    } else if whole >= 10.0 {
        1
    } else {
        2
    };
    let step = 10_f64.powi(digits);
    format!("{:.*} {name}", digits as usize, (whole * step).ceil() / step)
}

#[cfg(test)]
mod tests {
    use super::{lacking, size};

    #[test]
    fn sizes_are_rounded_up() {
        for (bytes, text) in [
            (999, "999 bytes"),
            (1000, "1.00 kB"),
            (2_147_483_648, "2.15 GB"),
            (6_830_000_001, "6.84 GB"),
            (99_000_000, "99.0 MB"),
            (123_456_789, "124 MB"),
            (5_000_000_000_000, "5.00 TB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn more_than_any_machine_has_is_lacking() {
        assert!(lacking(1 << 60).is_some_and(|left| left < 1 << 60));
        assert_eq!(lacking(1000), None);
    }
}
