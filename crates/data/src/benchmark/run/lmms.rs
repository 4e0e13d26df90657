//! Results and samples as lmms-eval 0.7 lays them out, for programs that read its files.
//!
//! `lmms_results.json` has `results` (by task: `alias`, each metric as `NAME,none` with `NAME_stderr,none`), `group_subtasks`, `configs`, `versions`, `n-shot`,
//! `higher_is_better`, `n-samples`, `config`, `task_hashes`, `model_source`, `model_name`, `model_name_sanitized`. `lmms_samples_NAME.jsonl` has a line for each
//! item: `doc_id`, `target`, `filtered_resps`, `doc_hash`, `prompt_hash`, `target_hash`, `input`, and the metric with what was read. There is no date and no time, so
//! that the same run gives the same bytes.

use std::path::Path;

use mmlens_files::{Target, sha256, write};
use serde_json::{Map, Value, json};

use super::answer::asked;
use super::journal::Line;
use super::score::target;
use super::{Bench, BenchError, Scored};
use crate::benchmark::{Figure, Item, Items, Part, ScorerName};

/// What lmms-eval calls a figure.
fn metric(scorer: ScorerName, figure: &str) -> String {
    let own = match (scorer, figure) {
        (ScorerName::Pope, "F1") => "pope_f1_score",
        (ScorerName::Pope, "yes ratio") => "pope_yes_ratio",
        (ScorerName::Mme, "score") => "mme_score",
        (ScorerName::Vqa, "accuracy") => "exact_match",
        (ScorerName::Chair, "CHAIRs") => "chair_s",
        (ScorerName::Chair, "CHAIRi") => "chair_i",
        _ => return format!("{scorer}_{}", figure.replace(' ', "_").replace('+', "_plus").to_lowercase()),
    };
    own.to_owned()
}

/// The figures of a run under lmms-eval's names: those of all items, and of MME, which is not summed up there, the scores of its two sets
/// of tasks.
fn named(scorer: ScorerName, parts: &[Part]) -> Vec<(String, &Figure)> {
    let all = parts.iter().take(1).flat_map(|part| &part.figures);
    let mut named: Vec<_> = all.map(|figure| (metric(scorer, &figure.name), figure)).collect();
    for (set, called) in [("perception", "mme_perception_score"), ("cognition", "mme_cognition_score")] {
        let own = parts.iter().find(|part| scorer == ScorerName::Mme && part.task == set);
        let score = own.and_then(|part| part.figures.iter().find(|figure| figure.name == "score"));
        named.extend(score.map(|score| (called.to_owned(), score)));
    }
    named
}

/// A name as lmms-eval makes it fit for files.
fn sanitized(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '.' { c } else { '_' }).collect()
}

fn doc(item: &Item) -> Value {
    json!({
        "id": item.id, "question": item.question, "captions": item.captions, "foils": item.foils, "answers": item.answers,
        "choices": item.choices, "label": item.label, "task": item.task, "group": item.group, "extra": item.extra,
    })
}

pub(super) fn write_all(
    scored: &Scored,
    bench: &Bench<'_>,
    items: &dyn Items,
    lines: &[Line],
    out: &Path,
) -> Result<(), BenchError> {
    let (task, scorer) = (bench.name, bench.settings.scorer);
    let target_file = Target::new(out.join(format!("lmms_samples_{}.jsonl", sanitized(task))))?;
    let judge = bench.scorer()?;
    // Read first: what goes wrong while a file is written can only be told as an error of the system.
    let mut hashes = String::new();
    let mut wrong = None;
    target_file
        .write(|file| {
            for (index, line) in lines.iter().enumerate() {
                let sample = items.item(index).map_err(BenchError::from).and_then(|item| {
                    let verdict = judge.as_ref().map(|judge| judge.judge(&item, &line.answer)).transpose()?;
                    Ok(sample(&item, index, line, bench, verdict.map(|verdict| (scorer, verdict))))
                });
                match sample {
                    Ok(sample) => {
                        hashes.push_str(&format!(
                            "sample_{index}{}",
                            sample["doc_hash"].as_str().unwrap_or_default()
                        ));
                        writeln!(file, "{sample}")?;
                    }
                    Err(error) => {
                        wrong = Some(error);
                        return Err(std::io::Error::other("an item cannot be read or scored"));
                    }
                }
            }
            Ok(())
        })
        .map_err(|error| wrong.take().unwrap_or(BenchError::Write(error)))?;

    let mut results = Map::from_iter([("alias".to_owned(), json!(task))]);
    let mut higher = Map::new();
    let parts = scored.model().map(|row| row.parts.as_slice()).unwrap_or_default();
    for (name, figure) in named(scorer, parts) {
        results.insert(format!("{name},none"), json!(figure.value));
        results.insert(
            format!("{name}_stderr,none"),
            figure.error.map_or_else(|| json!("N/A"), |error| json!(error)),
        );
        higher.insert(
            name.clone(),
            json!(!matches!(
                name.as_str(),
                "chair_s"
                    | "chair_i"
                    | "pope_yes_ratio"
                    | "mme_neither"
                    | "winoground_unpaired"
                    | "choice_no_choice"
                    | "chair_words"
            )),
        );
    }
    let of_task = |value: Value| json!({ (task): value });
    let document = json!({
        "results": of_task(Value::Object(results)),
        "group_subtasks": of_task(json!([])),
        "configs": of_task(json!({
            "task": task, "dataset_path": bench.source.data, "output_type": "generate_until", "num_fewshot": 0,
            "generation_kwargs": {"max_new_tokens": bench.settings.max_new, "do_sample": false, "num_beams": 1},
            "metadata": {"scorer": scorer, "data": scored.data, "sha256": scored.sha256},
        })),
        "versions": of_task(json!(env!("CARGO_PKG_VERSION"))),
        "n-shot": of_task(json!(0)),
        "higher_is_better": of_task(Value::Object(higher)),
        "n-samples": of_task(json!({"original": scored.items, "effective": scored.answered})),
        "config": {
            "model": "mmlens", "model_args": format!("pretrained={}", scored.model), "batch_size": 1, "limit": bench.limit,
            "bootstrap_iters": crate::benchmark::DRAWS, "random_seed": bench.settings.seed,
        },
        "task_hashes": of_task(json!(sha256(hashes))),
        "model_source": "mmlens",
        "model_name": scored.model,
        "model_name_sanitized": sanitized(&scored.model),
    });
    let path = out.join("lmms_results.json");
    let text =
        serde_json::to_string_pretty(&document).map_err(|error| BenchError::io(&path)(error.into()))?;
    write(&path, text + "\n")?;
    Ok(())
}

fn sample(
    item: &Item,
    index: usize,
    line: &Line,
    bench: &Bench<'_>,
    verdict: Option<(ScorerName, crate::benchmark::Verdict)>,
) -> Value {
    let (prompt, target) = (asked(item, bench.settings), target(item));
    let said = match line.answer.fits.as_slice() {
        [] => json!(line.answer.text),
        fits => json!(fits),
    };
    let mut sample = json!({
        "doc_id": index, "target": target, "filtered_resps": [said], "doc_hash": sha256(doc(item).to_string()),
        "prompt_hash": sha256(&prompt), "target_hash": sha256(&target), "input": prompt,
    });
    if let (Some((scorer, verdict)), Some(fields)) = (verdict, sample.as_object_mut()) {
        let own = json!({
            "question_id": item.id, "category": item.task, "prediction": verdict.read, "ground_truth": target, "counts": verdict.counts,
        });
        fields.insert(scorer.to_string(), own);
    }
    sample
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::benchmark::{Answer, Mme, Scorer, Tally};

    #[test]
    fn mme_has_a_score_of_each_set() {
        let mut tally = Tally::default();
        for (task, said) in
            [("existence", ["yes", "yes"]), ("color", ["yes", "no"]), ("code_reasoning", ["no", "no"])]
        {
            for (said, truth) in said.into_iter().zip(["yes", "no"]) {
                let (group, task) = ("a.png".to_owned(), Some(task.to_owned()));
                let item = Item { group, task, label: Some(truth.to_owned()), ..Item::default() };
                tally.add(&item, &Mme.judge(&item, &Answer::text(said)).unwrap());
            }
        }
        let parts = tally.scores(&Mme, mmlens_core::Seed(1));
        let of = |name: &str| {
            let all = named(ScorerName::Mme, &parts);
            all.into_iter().find(|(own, _)| own == name).and_then(|(_, figure)| figure.value)
        };
        // Half of one task, all of another; half of the third.
        assert_eq!(of("mme_perception_score"), Some(50.0 + 200.0));
        assert_eq!(of("mme_cognition_score"), Some(50.0));
        assert_eq!(of("mme_score"), Some(300.0));
        assert!(named(ScorerName::Pope, &parts).iter().all(|(name, _)| !name.starts_with("mme")));
    }
}
