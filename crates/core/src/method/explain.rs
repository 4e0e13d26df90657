//! Several methods on one case.

use mmlens_finding::Finding;

use crate::{AnalysisError, AnyAnalysis, Given, On, Shared};

/// What each of some methods finds, in their order, one after the other as they are asked for. The sample is encoded once, and
/// its unedited pass made once, for all of them; each gives the finding that it gives alone. What one of them cannot do is no
/// reason to stop. They share what `on` shares already.
///
/// ```no_run
/// # use mmlens_core::{AnalysisError, Case, Given, Method, On, Subject, explain};
/// # fn look(methods: &[Method], subject: &dyn Subject, case: Case) -> Result<(), AnalysisError> {
/// let (methods, given) = (Method::first(methods)?, Given::new(case)?);
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
    let own = Shared::new();
    let shared = on.shared().unwrap_or(&own);
    // Why one of them cannot is told when its turn comes.
    let read = methods.iter().filter_map(|method| method.reads(&on.sharing(shared), given).ok());
    shared.announce(read.flatten().collect());
    methods.iter().map(move |method| method.run_given(&on.sharing(on.shared().unwrap_or(&own)), given))
}
