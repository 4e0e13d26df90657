//! Several methods on one case.

use mmlens_finding::Finding;
use serde_json::json;

use crate::{AnalysisError, AnyAnalysis, Given, Method, On, Shared};

/// The methods of a table that run where nobody named one, with their default settings.
///
/// # Errors
/// None, as long as defaults are settings a method takes.
pub fn first<'m>(
    methods: impl IntoIterator<Item = &'m Method>,
) -> Result<Vec<Box<dyn AnyAnalysis>>, AnalysisError> {
    methods.into_iter().filter(|method| method.card.first).map(|method| method.make(json!({}))).collect()
}

/// What each of some methods finds, in their order, one after the other as they are asked for. The sample is encoded once, and
/// its unedited pass made once, for all of them; each gives the finding that it gives alone. What one of them cannot do is no
/// reason to stop.
///
/// ```no_run
/// # use mmlens_core::{AnalysisError, Case, Given, Method, On, Subject, explain, first};
/// # fn look(methods: &[Method], subject: &dyn Subject, case: Case) -> Result<(), AnalysisError> {
/// let (methods, given) = (first(methods)?, Given::new(case)?);
/// for (method, finding) in methods.iter().zip(explain(&methods, On::new(subject), &given)) {
///     println!("{}: {:?}", method.card().name, finding?.answer());
/// }
/// # Ok(())
/// # }
/// ```
pub fn explain<'a>(
    methods: &'a [Box<dyn AnyAnalysis>],
    on: On<'a>,
    given: &'a Given,
) -> impl Iterator<Item = Result<Finding, AnalysisError>> + 'a {
    let shared = Shared::new();
    // Why one of them cannot is told when its turn comes.
    let read = methods.iter().filter_map(|method| method.reads(&on.sharing(&shared), given).ok());
    let announced = read.flatten().collect();
    let shared = shared.announced(announced);
    methods.iter().map(move |method| method.run_given(&on.sharing(&shared), given))
}
