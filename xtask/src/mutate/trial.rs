//! One run of a test program, with a mistake planted or none.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How a run went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ran {
    /// The tests that failed, by name.
    pub(super) failed: Vec<String>,
    /// How the program ended, if neither well nor with tests that failed.
    pub(super) broken: Option<String>,
    /// How many tests ran.
    pub(super) tests: usize,
    /// Whether any test came past the mistake.
    pub(super) met: bool,
}

/// What a run is given beside its program.
#[derive(Debug)]
pub(super) struct Trial<'a> {
    /// The test program.
    pub(super) program: &'a Path,
    /// Where it is run: the folder of its crate.
    pub(super) folder: PathBuf,
    /// Parts of the names of its tests; all of them, if none.
    pub(super) names: &'a [String],
    /// The mistake that is planted.
    pub(super) planted: u32,
    /// When the run is ended.
    pub(super) limit: Duration,
}

impl Trial<'_> {
    /// Runs it, with files of its own in `scratch`.
    pub(super) fn run(&self, scratch: &Path) -> Result<Ran, String> {
        let told = |error: std::io::Error| format!("{}: {error}", self.program.display());
        fs::create_dir_all(scratch).map_err(told)?;
        let (said, met) = (scratch.join("said.txt"), scratch.join("met"));
        if met.exists() {
            fs::remove_file(&met).map_err(told)?;
        }
        let out = File::create(&said).map_err(told)?;
        let mut command = Command::new(self.program);
        command
            .args(self.names)
            .current_dir(&self.folder)
            .env("MMLENS_PLANTED", self.planted.to_string())
            .env("MMLENS_PLANTED_MET", &met)
            .stdin(Stdio::null())
            .stderr(out.try_clone().map_err(told)?)
            .stdout(out);
        // A group of its own, so that programs it starts end with it.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let ended = wait(command.spawn().map_err(told)?, self.limit).map_err(told)?;
        let text = fs::read(&said).map_err(told)?;
        let mut ran = read(&String::from_utf8_lossy(&text));
        ran.met = met.exists();
        ran.broken = match ended {
            None => Some(format!("the run took more than {} s", self.limit.as_secs())),
            Some(false) if ran.failed.is_empty() => Some("the program ended early".to_owned()),
            Some(_) => None,
        };
        Ok(ran)
    }
}

/// Whether a child ended well; nothing, if it had to be ended.
fn wait(mut child: Child, limit: Duration) -> std::io::Result<Option<bool>> {
    let started = Instant::now();
    let mut pause = Duration::from_millis(2);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status.success()));
        }
        if started.elapsed() > limit {
            #[cfg(unix)]
            Command::new("kill").args(["-KILL", "--", &format!("-{}", child.id())]).status()?;
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        sleep(pause);
        pause = (2 * pause).min(Duration::from_millis(50));
    }
}

/// What a test program says of itself.
fn read(text: &str) -> Ran {
    let mut ran = Ran::default();
    for line in text.lines() {
        if let Some(count) = line.strip_prefix("running ").and_then(|rest| rest.split(' ').next()) {
            ran.tests += count.parse().unwrap_or(0);
        }
    }
    // The names stand behind the last of two headings; before it, what each test printed.
    if let Some((_, names)) = text.rsplit_once("\nfailures:\n") {
        let names = names.lines().take_while(|line| line.is_empty() || line.starts_with("    "));
        ran.failed = names.map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
    }
    ran
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_read_from_the_end() {
        let text = "\nrunning 3 tests\ntest a ... ok\ntest b ... FAILED\ntest c ... FAILED\n\nfailures:\n\n---- b stdout ----\n\
                    thread 'b' panicked at x.rs:1:1:\n    left: 1\n\nfailures:\n    b\n    c\n\ntest result: FAILED. 1 passed; 2 failed\n";
        let ran = read(text);
        assert_eq!((ran.failed, ran.tests), (vec!["b".to_owned(), "c".to_owned()], 3));
        assert_eq!(read("\nrunning 1 test\ntest a ... ok\n").failed, Vec::<String>::new());
    }

    #[cfg(unix)]
    #[test]
    fn a_run_has_an_end() {
        let scratch = std::env::temp_dir().join(format!("mmlens-trial-{}", std::process::id()));
        let names = ["5".to_owned()];
        let trial = |program, limit| Trial {
            program: Path::new(program),
            folder: std::env::temp_dir(),
            names: &names,
            planted: 1,
            limit: Duration::from_millis(limit),
        };
        let long = trial("/bin/sleep", 50).run(&scratch).unwrap();
        assert_eq!(long.broken.as_deref(), Some("the run took more than 0 s"));
        let early = trial("/bin/false", 60_000).run(&scratch).unwrap();
        assert_eq!(early.broken.as_deref(), Some("the program ended early"));
        fs::remove_dir_all(scratch).unwrap();
    }
}
