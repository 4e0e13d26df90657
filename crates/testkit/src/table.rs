//! What every row of a table of methods must keep.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use mmlens_core::{Given, Method, Moved, On, RerunError, Subject, explain, rerun};
use mmlens_finding::Finding;
use serde_json::Value;

use crate::analysis_breaches;

/// Everything the methods of a table break of their contract on this input, each with every one of its settings.
///
/// Each keeps [`analysis_breaches`]; what methods of one run share is no part of what they find; a finding says enough to be made again
/// from its file, or that its data set is a program's.
///
/// # Panics
/// For settings that make no method, and a sample that cannot be encoded.
pub fn table_breaches(
    table: &[Method],
    settings: impl Fn(&Method) -> Vec<Value>,
    subject: &dyn Subject,
    given: &Given,
) -> Vec<String> {
    let probe = subject.encode(&given.case.sample).expect("the sample of the contract");
    let each = table.iter().flat_map(|method| settings(method).into_iter().map(move |own| (method, own)));
    let made: Vec<_> =
        each.map(|(method, own)| method.make(own).expect("settings of the contract")).collect();
    let mut all = Vec::new();
    for (method, found) in made.iter().zip(explain(&made, On::new(subject), given)) {
        let settings = method.settings().map_or_else(|error| error.to_string(), |own| own.to_string());
        let name = format!("{} on {}, {settings}", method.card().id, subject.name());
        let own = analysis_breaches(method.as_ref(), subject, given, &probe);
        all.extend(own.into_iter().map(|breach| format!("{name}: {breach}")));
        let alone = method.run_given(&On::new(subject), given);
        let (found, alone) = match (found, alone) {
            (Ok(found), Ok(alone)) => (found, alone),
            (found, alone) => {
                let said = [found.err(), alone.err()].map(|error| error.map(|e| e.to_string()));
                all.push(format!("{name}: it failed: {said:?}"));
                continue;
            }
        };
        let shared = found.differences(&alone);
        if !shared.is_empty() {
            all.push(format!("{name}: alone it finds something else: {shared:?}"));
        }
        let read = found.to_bytes().and_then(|bytes| Finding::from_bytes(&bytes));
        let again = read.map(|read| rerun(table, &read, &On::new(subject), Moved::default()));
        let data = found.provenance.input.as_ref().and_then(|input| input.data.as_ref());
        match (again, data) {
            (Ok(Err(RerunError::Data { cases, .. })), Some(data)) if cases == data.cases => {}
            (Ok(Ok(again)), None) if again.differences.is_empty() => {}
            (again, _) => all.push(format!("{name}: made again it gives {again:?}")),
        }
    }
    all
}
