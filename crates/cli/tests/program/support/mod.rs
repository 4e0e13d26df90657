//! Running the program as its users do.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

pub(crate) const MODELS: [&str; 4] = ["llava-a", "llava-b", "llava-multi", "llava-old"];

/// Models that take pictures of any size and clips.
pub(crate) const QWEN: [&str; 6] =
    ["qwen2-vl-a", "qwen2-vl-old", "qwen2.5-vl-a", "qwen2.5-vl-old", "qwen3-vl-a", "qwen3-vl-b"];

pub(crate) const DUAL: [&str; 6] = ["clip-a", "clip-b", "clip-old", "siglip-a", "siglip-2", "siglip-old"];

/// What the program said and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    /// The results of a run that went well and said nothing else, but that its answer was cut off: random weights seldom end one.
    pub(crate) fn well(self) -> String {
        let cut = |line: &&str| line.starts_with("note: the answer was cut off after ");
        let err: Vec<&str> = self.err.lines().filter(|line| !cut(line)).collect();
        assert_eq!((self.code, err.as_slice()), (Some(0), &[][..]), "{}", self.out);
        self.out
    }

    /// The results of a run that went well and said no more than what speaks against findings: of random weights much does.
    pub(crate) fn cautioned(self) -> String {
        let doubt = |line: &str| {
            let kinds = [
                "miss what they should add up to",
                "barely differ",
                "values add up to less than zero",
                "of all lies on `",
            ];
            let zeros = [
                "the first token of the answer is explained",
                "the answer was cut off after",
                "was left out: `--",
                "see themselves alone",
                "are all exactly zero",
                "that is rounding",
                "nothing was contrasted",
                "stand out more than all shuffled ones",
                "can spike beyond",
                "nearer to a word than every random vector",
                "a hub, whatever they show",
                "the neighbours are words of the prompt itself",
                "nearer to the bank than every random vector",
                "no random set of its size is another",
                "that it is these directions does not follow",
                "the model chooses among two or more",
                "has few places to be cut at",
                "swapped the answer is not yet",
                "what is explained is not what it would say",
                "turn the answer with",
                "their effects do not add up",
                "more draws are needed",
                "whether they mean the same is not seen",
                "of the answers were cut off after the most tokens",
                "is beaten by what looks at less",
                "intervals of so few say little",
                "ranks among so few say little",
                "half of them make a vector",
                "training cases: the ridge decides",
                "no case has a score of",
                "rows are held out: an accuracy of so few",
                "nothing was found that can be read",
                "the control task has one class",
                "of the rows held out, and one on as many features drawn by chance in",
                "of the rows held out, and one of as many directions drawn by chance in",
                "learned again from other draws of the rows",
                "learned again with other candidates",
            ];
            kinds.iter().chain(&zeros).any(|kind| line.contains(kind))
        };
        assert!(self.err.lines().all(|line| line.starts_with("note: ") && doubt(line)), "{}", self.err);
        assert_eq!(self.code, Some(0), "{}", self.out);
        self.out
    }

    pub(crate) fn json(self) -> Value {
        serde_json::from_str(&self.well()).unwrap()
    }

    /// The message of a run that was refused, without `error: `.
    pub(crate) fn refused(self) -> String {
        self.refused_with(1)
    }

    /// The same of a command that judges: there 1 is a verdict.
    pub(crate) fn not_judged(self) -> String {
        self.refused_with(2)
    }

    fn refused_with(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{self:?}");
        for noise in ["panicked", "backtrace", "fault of mmlens", "RUST_BACKTRACE"] {
            assert!(!self.err.contains(noise), "{}", self.err);
        }
        let message = self.err.strip_prefix("error: ").unwrap_or_else(|| panic!("{}", self.err));
        assert_eq!(message.matches("error: ").count(), 0, "{message}");
        message.trim_end().to_owned()
    }
}

pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mmlens"));
    // What the machine has in its cache must not matter.
    for variable in ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"] {
        command.env_remove(variable);
    }
    command.stdin(Stdio::null());
    command
}

pub(crate) fn mmlens(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Said {
    let output = command().args(args).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

pub(crate) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../oracles/fixtures").canonicalize().unwrap()
}

pub(crate) fn model(name: &str) -> String {
    fixtures().join(name).join("model").display().to_string()
}

pub(crate) fn picture(name: &str) -> String {
    fixtures().join("pictures").join(format!("{name}.png")).display().to_string()
}

/// Findings of some methods about a picture, `square.png` in the folder, in the folder `out` there.
pub(crate) fn findings(folder: &Path, out: &str, methods: &str, more: &[&str]) -> PathBuf {
    let (shown, out) = (folder.join("square.png"), folder.join(out));
    fs::copy(picture("square"), &shown).unwrap();
    let fixed = ["explain", &model("llava-a"), "--ask", "Red?", "--method", methods];
    let files = ["--image", shown.to_str().unwrap(), "--out", out.to_str().unwrap()];
    mmlens(fixed.iter().chain(&files).chain(more)).cautioned();
    out
}

/// A copy of a checkpoint, to be damaged.
pub(crate) fn copy(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(model(name)).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    folder
}

pub(crate) fn args(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
