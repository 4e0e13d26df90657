//! The threads among which a pass is divided, started before anything needs them.

use anyhow::{Context, Result};

/// How many of them, if it is not for the machine to say.
const COUNT: &str = "RAYON_NUM_THREADS";

/// Beyond this they only wait for one another: a pass of a second takes minutes.
const MOST: usize = 512;

/// Starts them. A machine that has no threads left says so here, and not in the middle of a pass.
pub(crate) fn start() -> Result<()> {
    let asked = std::env::var_os(COUNT).map(|text| count(&text.to_string_lossy())).transpose()?;
    rayon::ThreadPoolBuilder::new().num_threads(asked.unwrap_or(0)).build_global().with_context(|| {
        let many = asked.map_or(String::new(), |count| format!(" {count}"));
        format!("the{many} threads of a pass cannot be started; {COUNT} asks for fewer")
    })
}

/// Zero leaves it to the machine.
fn count(text: &str) -> Result<usize> {
    text.trim().parse().ok().filter(|count| *count <= MOST).with_context(|| {
        format!("the environment variable {COUNT}: found `{text}`, expected a number of threads up to {MOST}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_a_number_within_bounds() {
        assert_eq!(count(" 4").unwrap(), 4);
        assert_eq!(count("0").unwrap(), 0);
        for wrong in ["513", "8000", "-1", "two", ""] {
            assert_eq!(
                count(wrong).unwrap_err().to_string(),
                format!(
                    "the environment variable RAYON_NUM_THREADS: found `{wrong}`, expected a number of threads up to 512"
                )
            );
        }
    }
}
