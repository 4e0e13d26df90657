//! The Python package `safetensors` reads the same rows.
//!
//! `MMLENS_PYTHON` names an interpreter that has it, and NumPy; without, the test is listed as ignored.
#![expect(clippy::unwrap_used, reason = "a program of tests")]

mod recorded;

use std::env;
use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Trial};
use recorded::{SITE, all, record, recording};

const READ_IN_PYTHON: &str = r#"
import json, pathlib, sys
from safetensors import safe_open
folder = pathlib.Path(sys.argv[1])
site = sys.argv[2]
values, samples = [], []
for line in (folder / "shards.jsonl").read_text().splitlines():
    with safe_open(folder / json.loads(line)["file"], "np") as shard:
        values += [float(v) for v in shard.get_tensor(site).ravel()]
        samples += [int(s) for s in shard.get_tensor("rows.sample")]
json.dump({"values": values, "samples": samples}, sys.stdout)
"#;

fn main() -> ExitCode {
    let trial = Trial::test("python_reads_the_same", || {
        python_reads_the_same();
        Ok(())
    });
    let trial = match env::var_os("MMLENS_PYTHON") {
        Some(_) => trial,
        None => trial.with_kind("MMLENS_PYTHON names no interpreter").with_ignored_flag(true),
    };
    libtest_mimic::run(&Arguments::from_args(), vec![trial]).exit_code()
}

fn python_reads_the_same() {
    let python = env::var_os("MMLENS_PYTHON").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let store = record(&recording(SITE), folder.path(), 23);
    let run =
        Command::new(python).args(["-c", READ_IN_PYTHON]).arg(folder.path()).arg(SITE).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    #[derive(serde::Deserialize)]
    struct Read {
        values: Vec<f32>,
        samples: Vec<u64>,
    }
    let read: Read = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(read.values, store.read(SITE, &all(&store)).unwrap());
    let labels = store.labels(&all(&store)).unwrap();
    assert_eq!(read.samples, labels.iter().map(|label| label.sample).collect::<Vec<_>>());
}
