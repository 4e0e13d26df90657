//! One file of a checkpoint's folder, everything else in it as it was: opened, encoded for, run, two tokens generated.

use std::fs;
use std::path::Path;

use anyhow::Context;
use burn::tensor::Device;
use mmlens_core::sound::Sound;
use mmlens_core::{Generation, Picture, Plan, Sample, Subject, SubjectError, Words};
use mmlens_zoo::OpenOptions;

use crate::{Outcome, Room};

/// No checkpoint among the fixtures has this file; those may that have their vocabulary in the other one.
const ADDED: (&str, &str) = ("added_tokens.json", "vocab.json");

/// The checkpoints that have such a file, by name.
fn having(file: &str) -> anyhow::Result<Vec<String>> {
    let file = if file == ADDED.0 { ADDED.1 } else { file };
    let folder = mmlens_testkit::fixtures();
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        if entry.path().join("model").join(file).is_file() && entry.path().join("model/config.json").is_file()
        {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    anyhow::ensure!(!names.is_empty() && names.len() < 256, "{} checkpoints have `{file}`", names.len());
    Ok(names)
}

/// The file of every checkpoint that has it, behind a byte that says which.
pub(crate) fn seeds(file: &str) -> anyhow::Result<Vec<Vec<u8>>> {
    let names = having(file)?;
    let read = |(i, name): (usize, &String)| {
        let path = mmlens_testkit::checkpoint(name).join(file);
        let bytes = match file == ADDED.0 {
            true => added(&path.with_file_name(ADDED.1))?,
            false => fs::read(&path).with_context(|| path.display().to_string())?,
        };
        Ok([vec![i as u8], bytes].concat())
    };
    names.iter().enumerate().map(read).collect()
}

/// Two tokens behind those of a vocabulary.
fn added(vocabulary: &Path) -> anyhow::Result<Vec<u8>> {
    let text = fs::read(vocabulary).with_context(|| vocabulary.display().to_string())?;
    let known = serde_json::from_slice::<serde_json::Map<_, _>>(&text)?.len();
    Ok(serde_json::to_vec(&serde_json::json!({ "<one>": known, "<two>": known + 1 }))?)
}

/// Opens the checkpoint with the file replaced, and uses it.
pub(crate) fn once(room: &Room, file: &str, bytes: &[u8]) -> anyhow::Result<Outcome> {
    let Some((which, contents)) = bytes.split_first() else { return Ok(Outcome::Accepted) };
    let names = having_once(file)?;
    let name = names.get(usize::from(*which) % names.len().max(1)).context("a checkpoint")?;
    let sample = sample(room.takes(name, first_taken)?)?;
    let folder = room.copy(name)?;
    let path = folder.join(file);
    let whole = mmlens_testkit::checkpoint(name).join(file);
    let whole = if whole.exists() { Some(fs::read(whole)?) } else { None };
    // A mapped file must not shrink below its readers: it is replaced, not written into.
    replace(&path, contents)?;
    let outcome = used(name, &folder, &sample);
    match whole {
        Some(whole) => replace(&path, &whole)?,
        None => fs::remove_file(&path)?,
    }
    Ok(outcome.map_or_else(Outcome::Refused, |()| Outcome::Accepted))
}

/// As [`having`]; the fixtures do not change while a process runs.
fn having_once(file: &str) -> anyhow::Result<Vec<String>> {
    use std::sync::Mutex;
    static KNOWN: Mutex<Option<(String, Vec<String>)>> = Mutex::new(None);
    let mut known = KNOWN.lock().map_err(|_| anyhow::anyhow!("a case panicked while it listed fixtures"))?;
    if let Some((_, names)) = known.as_ref().filter(|(own, _)| own == file) {
        return Ok(names.clone());
    }
    let names = having(file)?;
    *known = Some((file.to_owned(), names.clone()));
    Ok(names)
}

fn replace(path: &Path, contents: &[u8]) -> anyhow::Result<()> {
    if path.exists() {
        fs::remove_file(path)?;
    }
    fs::write(path, contents).with_context(|| path.display().to_string())
}

/// What a user does with a checkpoint.
fn used(name: &str, folder: &Path, sample: &Sample) -> Result<(), String> {
    let subject =
        OpenOptions::new(&Device::flex()).self_check(false).open(folder).map_err(|e| e.to_string())?;
    run(subject.as_ref(), sample).map_err(|error| behind(name, folder, &error.to_string()))
}

/// What an opened model refuses it refuses under its own name, without the folder: with the setting that is at odds with the
/// sample, or a file of the folder. Only then is the folder taken for named.
pub(crate) fn behind(name: &str, folder: &Path, said: &str) -> String {
    match names_a_setting(said, name) {
        true => format!("{}: {said}", folder.display()),
        false => said.to_owned(),
    }
}

/// Whether something in backticks is the name of a setting or a file, and not that of the model.
fn names_a_setting(said: &str, model: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-[]/".contains(c);
    let quoted = said.split('`').skip(1).step_by(2);
    // Of several words the first is a file, or a site: `tokenizer_config.json: pad_token`, `text.logits of token 1`.
    let first = |name: &str| name.split([' ', ':']).next().is_some_and(|word| word.contains('.'));
    let named = |name: &str| !name.is_empty() && (name.chars().all(plain) || first(name));
    quoted.filter(|name| *name != model).any(named)
}

/// What takes more positions is only encoded: a pass takes time with their square, and that is what was asked for.
const LONGEST: usize = 4096;

/// Encodes, runs, generates where the model does.
pub(crate) fn run(subject: &dyn Subject, sample: &Sample) -> Result<(), SubjectError> {
    let inputs = subject.encode(sample)?;
    if inputs.positions() > LONGEST {
        return Ok(());
    }
    subject.run(&inputs, Plan::new().to_output())?;
    let how = Generation { max_new: 2, ..Generation::default() };
    match subject.generate(&inputs, &how) {
        Ok(_) | Err(SubjectError::Unsupported { .. }) => Ok(()),
        Err(other) => Err(other),
    }
}

/// How many ways there are to ask.
const SAMPLES: usize = 8;

/// One sample for each way to ask: at least one of them suits every model.
pub(crate) fn sample(number: usize) -> anyhow::Result<Sample> {
    let shown = || Picture::open(mmlens_testkit::picture("wide"));
    let heard = |words| -> anyhow::Result<Sample> {
        let sound = Sound::open(mmlens_testkit::fixtures().join("recordings/chirp.wav"))?;
        Ok(Sample::new(Vec::new(), words).with_recordings(vec![sound]))
    };
    Ok(match number {
        0 => Sample::ask(shown()?, "what is ï?"),
        1 => Sample::new(vec![shown()?], Words::Texts(vec!["a b".to_owned(), "c".to_owned()])),
        2 => Sample::prompt(vec![], "a [MASK] b\u{e9}"),
        3 => Sample::new(vec![shown()?], Words::Nothing),
        4 => Sample::prompt(vec![shown()?], "a b"),
        5 => heard(Words::Question("what is ï?".to_owned()))?,
        6 => heard(Words::Nothing)?,
        7 => heard(Words::Prompt("a b".to_owned()))?,
        other => anyhow::bail!("there is no sample {other}"),
    })
}

/// The first of them that a model takes.
pub(crate) fn first_taken(subject: &dyn Subject) -> anyhow::Result<usize> {
    let mut said = String::new();
    for number in 0..SAMPLES {
        match run(subject, &sample(number)?) {
            Ok(()) => return Ok(number),
            Err(error) => said = error.to_string(),
        }
    }
    anyhow::bail!("{} takes none of the samples: {said}", subject.name())
}

#[cfg(test)]
mod tests {
    use super::names_a_setting;

    #[test]
    fn the_name_of_a_model_is_no_setting() {
        let said = "`llava-a` cannot take this sample: ";
        assert!(!names_a_setting(&format!("{said}it has no words"), "llava-a"));
        assert!(!names_a_setting(&format!("{said}there is `a b` in it"), "llava-a"));
        assert!(names_a_setting(&format!("{said}`vocab_size` is 3"), "llava-a"));
        assert!(names_a_setting(&format!("{said}`tokenizer_config.json: pad_token` is none"), "llava-a"));
        assert!(names_a_setting("`text.logits of token 1` holds NaN", "llava-a"));
        assert!(names_a_setting(&format!("{said}of `text_config.max_length`"), "llava-a"));
    }
}
