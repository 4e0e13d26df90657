//! The copy of the workspace in which mistakes are planted, and building it.
//!
//! It lies below `target` and is written where it differs alone, so that cargo builds no more than changed. Its crates are
//! compiled with a profile of their own: what is built of them has other names than what is built of the workspace, and both
//! share one build directory, and with it all that is built of others' crates.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use serde_json::Value;

use super::list::{List, Mistake};
use super::splice::{self, ASKED, Language, Place, spliced};

/// A mistake by its id, its file, and the lines it stands on.
type Stands<'a> = (String, &'a str, std::ops::Range<usize>);

/// The test programs of the copy.
#[derive(Debug, Default)]
pub(super) struct Built {
    /// By the folder below `crates` and the target: `lib`, `bin`, or the name of an integration test.
    pub(super) programs: BTreeMap<(String, String), PathBuf>,
    /// Mistakes that do not compile, with what the compiler says.
    pub(super) refused: BTreeMap<String, String>,
}

/// A workspace below another's target directory.
pub(super) struct Copy<'a> {
    root: &'a Path,
    list: &'a List,
    /// The target directory of the workspace.
    target: PathBuf,
    /// Where its intermediate results lie, and those of the copy.
    build: PathBuf,
}

impl<'a> Copy<'a> {
    /// A copy of the workspace, not written yet.
    pub(super) fn new(root: &'a Path, list: &'a List) -> Result<Self, String> {
        let metadata = crate::check::metadata(root)?;
        let folder = |name: &str| metadata.get(name).and_then(Value::as_str).map(PathBuf::from);
        let target = folder("target_directory").ok_or("cargo metadata names no target directory")?;
        let build = folder("build_directory").unwrap_or_else(|| target.clone());
        Ok(Self { root, list, target, build })
    }

    /// Where runs may leave files.
    pub(super) fn scratch(&self) -> PathBuf {
        self.target.join("mutate/runs")
    }

    /// Where the copy lies.
    pub(super) fn folder(&self) -> PathBuf {
        self.target.join("mutate/src")
    }

    /// Writes the copy and builds its test programs. What does not compile is told and left out.
    pub(super) fn build(&self, say: &dyn Fn(String)) -> Result<Built, String> {
        let mut refused = BTreeMap::new();
        loop {
            let lines = self.write(&refused)?;
            let (messages, ended) = self.cargo()?;
            if ended.success() {
                return Ok(Built { programs: programs(&messages), refused });
            }
            let before = refused.len();
            for (file, line, said) in errors(&messages) {
                let file = file.strip_prefix(&format!("{}/", self.folder().display())).unwrap_or(&file);
                let of_line = lines.iter().filter(|(own, _, range)| own == file && range.contains(&line));
                for (_, id, _) in of_line {
                    refused.entry((*id).to_owned()).or_insert_with(|| {
                        say(format!("`{id}` does not build: {said}"));
                        said.clone()
                    });
                }
            }
            if refused.len() == before {
                let folder = self.folder();
                let said = untold(&messages, &ended).join("\n");
                return Err(format!("the copy in {} does not build:\n{said}", folder.display()));
            }
        }
    }

    /// Writes what differs, removes what is gone, and says on which lines each mistake stands.
    fn write(&self, refused: &BTreeMap<String, String>) -> Result<Vec<Stands<'a>>, String> {
        let folder = self.folder();
        let mut of_file: BTreeMap<&str, Vec<&Mistake>> = BTreeMap::new();
        for mistake in self.list.mistakes.iter().filter(|mistake| !refused.contains_key(&mistake.id)) {
            of_file.entry(&mistake.file).or_default().push(mistake);
        }
        // Each crate with a mistake in it is asked at its root.
        let roots: BTreeSet<String> = of_file.keys().filter_map(|file| self.crate_root(file)).collect();
        let files = self.files()?;
        let mut lines = Vec::new();
        for file in &files {
            let from = self.root.join(file);
            let mut bytes = fs::read(&from).map_err(|e| format!("{}: {e}", from.display()))?;
            let own = of_file.get(file.as_str());
            let scaffolds: Vec<_> = self.list.scaffolds.iter().filter(|s| s.file == *file).collect();
            if own.is_some() || !scaffolds.is_empty() || roots.contains(file) || file == "Cargo.toml" {
                let mut text = String::from_utf8(bytes).map_err(|e| format!("{file}: {e}"))?;
                if let Some(mistakes) = own {
                    let place = |mistake: &&'a Mistake| {
                        let at =
                            mistake.place(&text).map_err(|e| format!("`{}`: {file}: {e}", mistake.id))?;
                        Ok(Place { at, number: mistake.number(), wrong: &mistake.wrong })
                    };
                    let places: Vec<Place<'_>> = mistakes.iter().map(place).collect::<Result<_, String>>()?;
                    let planted = spliced(Language::of(file)?, &text, &places);
                    for (number, range) in planted.lines {
                        let id = mistakes.iter().find(|m| m.number() == number).map_or("", |m| m.id.as_str());
                        lines.push((file.clone(), id, range));
                    }
                    text = planted.text;
                }
                for scaffold in scaffolds {
                    let at = splice::place(&text, &scaffold.at, None).map_err(|e| format!("{file}: {e}"))?;
                    text.replace_range(at, &scaffold.with);
                }
                if roots.contains(file) {
                    text.push_str(ASKED);
                }
                bytes = text.into_bytes();
            }
            put(&folder.join(file), &bytes)?;
        }
        let kept: BTreeSet<PathBuf> = files.iter().map(|file| folder.join(file)).collect();
        sweep(&folder, &kept)?;
        Ok(lines)
    }

    /// The files of the workspace that git knows or would take.
    fn files(&self) -> Result<Vec<String>, String> {
        let mut git = Command::new("git");
        git.args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"]).current_dir(self.root);
        let output = git.output().map_err(|e| format!("git ls-files: {e}"))?;
        if !output.status.success() {
            return Err(format!("git ls-files: {}", String::from_utf8_lossy(&output.stderr).trim()));
        }
        let text = String::from_utf8(output.stdout).map_err(|e| format!("git ls-files: {e}"))?;
        let names = text.split('\0').filter(|name| !name.is_empty()).map(str::to_owned);
        Ok(names.filter(|name| self.root.join(name).is_file()).collect())
    }

    /// `crates/zoo/src/lib.rs` for a source of that crate.
    fn crate_root(&self, file: &str) -> Option<String> {
        let krate = file.split_once("/src/").map(|(krate, _)| krate)?;
        let roots = ["lib.rs", "main.rs"].map(|name| format!("{krate}/src/{name}"));
        roots.into_iter().find(|root| self.root.join(root).is_file())
    }

    /// Builds the test programs: what cargo says, and how it ended.
    fn cargo(&self) -> Result<(Vec<Value>, ExitStatus), String> {
        let mut cargo = crate::check::command();
        cargo
            .args(["test", "--locked", "--no-run", "--lib", "--bins", "--tests", "--message-format=json"])
            .args(profiles(self.root)?)
            .current_dir(self.folder())
            .env("CARGO_TARGET_DIR", self.target.join("mutate/target"))
            .env("CARGO_BUILD_BUILD_DIR", &self.build)
            .stdout(Stdio::piped());
        let output = cargo.spawn().and_then(std::process::Child::wait_with_output);
        let output = output.map_err(|e| format!("cargo test --no-run: {e}"))?;
        let lines = String::from_utf8_lossy(&output.stdout);
        Ok((lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect(), output.status))
    }
}

/// A profile for each crate of the workspace, so that what is built of the copy has names of its own: options of cargo, which go
/// before what the manifest says of a crate.
fn profiles(root: &Path) -> Result<Vec<String>, String> {
    let metadata = crate::check::metadata(root)?;
    let packages = metadata.get("packages").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let names = packages.iter().filter_map(|package| package.get("name").and_then(Value::as_str));
    Ok(names.map(|name| format!("--config=profile.dev.package.{name}.codegen-units=255")).collect())
}

/// Writes a file unless it holds this already.
fn put(path: &Path, bytes: &[u8]) -> Result<(), String> {
    if fs::read(path).is_ok_and(|found| found == bytes) {
        return Ok(());
    }
    let told = |error: std::io::Error| format!("{}: {error}", path.display());
    fs::create_dir_all(path.parent().unwrap_or(path)).map_err(told)?;
    fs::write(path, bytes).map_err(told)
}

/// Removes files that are not to be kept.
fn sweep(folder: &Path, kept: &BTreeSet<PathBuf>) -> Result<(), String> {
    let told = |error: std::io::Error| format!("{}: {error}", folder.display());
    for path in fs::read_dir(folder).map_err(told)?.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            sweep(&path, kept)?;
        } else if !kept.contains(&path) {
            fs::remove_file(&path).map_err(told)?;
        }
    }
    Ok(())
}

/// The test programs that cargo tells of.
fn programs(messages: &[Value]) -> BTreeMap<(String, String), PathBuf> {
    let program = |message: &Value| {
        let program = PathBuf::from(message.get("executable")?.as_str()?);
        message.get("profile")?.get("test")?.as_bool().filter(|test| *test)?;
        let krate = Path::new(message.get("manifest_path")?.as_str()?).parent()?.file_name()?;
        let target = message.get("target")?;
        let name = match target.get("kind")?.get(0)?.as_str()? {
            "test" => target.get("name")?.as_str()?,
            "bin" => "bin",
            _ => "lib",
        };
        Some(((krate.to_string_lossy().into_owned(), name.to_owned()), program))
    };
    messages.iter().filter_map(program).collect()
}

/// Everything the compiler refuses, with or without a place; how cargo ended, if it refuses nothing.
fn untold(messages: &[Value], ended: &impl std::fmt::Display) -> Vec<String> {
    let words = |message: &Value| {
        let message = message.get("message")?;
        message.get("level")?.as_str().filter(|level| *level == "error")?;
        let rendered = message.get("rendered").and_then(Value::as_str);
        Some(rendered.or_else(|| message.get("message")?.as_str())?.trim().to_owned())
    };
    let said: Vec<String> = messages.iter().filter_map(words).collect();
    if said.is_empty() { vec![format!("cargo test --no-run ended with {ended}")] } else { said }
}

/// What the compiler refuses: file, line and words.
fn errors(messages: &[Value]) -> Vec<(String, usize, String)> {
    let of_message = |message: &Value| {
        let message = message.get("message")?;
        message.get("level")?.as_str().filter(|level| *level == "error")?;
        let said = message.get("message")?.as_str()?.to_owned();
        let spans = message.get("spans")?.as_array()?;
        let place = |span: &Value| {
            let line = span.get("line_start")?.as_u64()?;
            Some((span.get("file_name")?.as_str()?.to_owned(), usize::try_from(line).ok()?, said.clone()))
        };
        Some(spans.iter().filter_map(place).collect::<Vec<_>>())
    };
    messages.iter().filter_map(of_message).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cargo_tells_is_understood() {
        let artifact = |kind: &str, test: bool| {
            serde_json::json!({
                "reason": "compiler-artifact", "manifest_path": "/w/crates/zoo/Cargo.toml",
                "target": {"kind": [kind], "name": "parity"}, "profile": {"test": test}, "executable": "/t/parity-1",
            })
        };
        let found = programs(&[artifact("test", true), artifact("lib", true), artifact("bin", false)]);
        let names: Vec<String> = found.keys().map(|(krate, target)| format!("{krate}/{target}")).collect();
        assert_eq!(names, ["zoo/lib", "zoo/parity"]);
        let error = serde_json::json!({
            "reason": "compiler-message",
            "message": {"level": "error", "message": "mismatched types", "spans": [{"file_name": "a.rs", "line_start": 3}]},
        });
        assert_eq!(
            errors(&[error, artifact("lib", true)]),
            [("a.rs".to_owned(), 3, "mismatched types".to_owned())]
        );
    }
}
