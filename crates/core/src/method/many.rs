//! Many cases, and two subjects side by side.

use std::fmt;
use std::sync::Arc;

use mmlens_finding::{BesideRecord, DataRecord, InputRecord};
use serde_json::Value;

use super::case::{Form, Given, Input};
use crate::{AnalysisError, Case, Cases, Subject, SubjectError};

/// A data set to run a method on, and a second subject to run it on as well, if there is one.
///
/// One form for both: what is asked of two subjects over the same cases can be asked of one, with other places of its own. It owns what
/// it holds, as a [`Given`] does: cases that are borrowed are handed over by a [`from_fn`](crate::from_fn) that owns them, a subject that goes on being
/// used as an [`Arc`].
///
/// ```
/// # use mmlens_core::{Case, ManyCases, Sample, SubjectError, from_fn};
/// let words = from_fn("words", 3, |i| Ok(Case::new(Sample::text("ab".repeat(i + 1)))));
/// let many = ManyCases::over(words)?;
/// assert_eq!((many.len(), many.other().is_none()), (3, true));
/// # Ok::<(), SubjectError>(())
/// ```
#[derive(Clone)]
pub struct ManyCases {
    data: Arc<dyn Cases + Send>,
    known: DataRecord,
    beside: Option<Beside>,
}

#[derive(Clone)]
struct Beside {
    subject: Arc<dyn Subject>,
    /// The cases as it takes them, where it does not take them as the first subject does.
    own: Option<(Arc<dyn Cases + Send>, DataRecord)>,
}

impl fmt::Debug for ManyCases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.known.name, self.known.cases)?;
        self.other().map_or(Ok(()), |other| write!(f, " beside {}", other.name()))
    }
}

impl ManyCases {
    /// A data set, for methods that look at one subject.
    ///
    /// # Errors
    /// As [`Cases::hash`].
    ///
    /// # Cost
    /// Its hash, which findings keep: unless the data set says it otherwise, every case is made once, and one is held.
    pub fn over(data: impl Cases + Send + 'static) -> Result<Self, SubjectError> {
        let known = record(&data)?;
        Ok(Self { data: Arc::new(data), known, beside: None })
    }

    /// The same cases for a second subject too.
    #[must_use]
    pub fn beside(self, other: impl Subject + 'static) -> Self {
        Self { beside: Some(Beside { subject: Arc::new(other), own: None }), ..self }
    }

    /// The same cases for a second subject that takes other words: captions, where the first is asked a question. Case `i` of these
    /// belongs to case `i` of the others.
    ///
    /// # Errors
    /// [`SubjectError::Annotation`] for more or fewer cases; as [`ManyCases::over`].
    pub fn beside_over(
        self,
        other: impl Subject + 'static,
        data: impl Cases + Send + 'static,
    ) -> Result<Self, SubjectError> {
        if data.len() != self.len() {
            let reason =
                format!("{} cases, to stand beside the {} of `{}`", data.len(), self.len(), self.known.name);
            return Err(SubjectError::Annotation { data: data.name().to_owned(), reason });
        }
        let known = record(&data)?;
        let own: Option<(Arc<dyn Cases + Send>, _)> = Some((Arc::new(data), known));
        Ok(Self { beside: Some(Beside { subject: Arc::new(other), own }), ..self })
    }

    /// The cases.
    pub fn data(&self) -> &dyn Cases {
        self.data.as_ref()
    }

    /// Cases there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.cases
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The second subject.
    pub fn other(&self) -> Option<&dyn Subject> {
        self.beside.as_ref().map(|beside| beside.subject.as_ref())
    }

    /// The cases as the second subject takes them.
    pub fn others(&self) -> &dyn Cases {
        let own = self.beside.as_ref().and_then(|beside| beside.own.as_ref());
        own.map_or(self.data(), |(data, _)| data.as_ref())
    }
}

fn record(data: &dyn Cases) -> Result<DataRecord, SubjectError> {
    Ok(DataRecord { name: data.name().to_owned(), cases: data.len(), sha256: data.hash()? })
}

impl Input for ManyCases {
    const FORM: Form = Form::ManyCases;

    fn of(given: &Given, method: &'static str) -> Result<Self, AnalysisError> {
        given.many.clone().ok_or_else(|| AnalysisError::Input {
            method,
            needs: "a data set".into(),
            found: "none was given: a program hands one over (`Given::over`)".to_owned(),
        })
    }

    fn record(&self) -> InputRecord {
        let beside = self.beside.as_ref().map(|Beside { subject, own }| BesideRecord {
            subject: subject.name().to_owned(),
            weights_hash: subject.weights_hash(),
            alterations: subject.alterations().to_vec(),
            dtype: subject.dtype(),
            device: subject.device(),
            kernels: subject.kernels(),
            data: own.as_ref().map(|(_, known)| known.clone()),
        });
        let data = Some(self.known.clone());
        InputRecord { target: Value::Null, data, beside, ..InputRecord::default() }
    }
}

/// A case, and the data set that it stands among, if one was given: for methods that explain one sample beside others.
#[derive(Debug, Clone)]
pub struct CaseAmong {
    /// The case that is explained.
    pub case: Case,
    /// The others.
    pub among: Option<ManyCases>,
}

impl From<Case> for CaseAmong {
    fn from(case: Case) -> Self {
        Self { case, among: None }
    }
}

impl Input for CaseAmong {
    const FORM: Form = Form::OneCase;

    fn of(given: &Given, _: &'static str) -> Result<Self, AnalysisError> {
        Ok(Self { case: given.case.clone(), among: given.many.clone() })
    }

    fn record(&self) -> InputRecord {
        let data = self.among.as_ref().map(|many| many.known.clone());
        InputRecord { data, ..self.case.record() }
    }
}

impl Given {
    /// The same with a data set, for methods that are run on many cases or on one among them, and a second subject, if it has one.
    #[must_use]
    pub fn over(self, many: ManyCases) -> Self {
        Self { many: Some(many), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::ManyCases;
    use crate::method::{Given, Input};
    use crate::{Case, Cases, Sample, from_fn};

    fn words(len: usize) -> impl Cases + Send + use<> {
        from_fn("words", len, |i| Ok(Case::new(Sample::text("a".repeat(i + 1)))))
    }

    #[test]
    fn a_data_set_is_taken_from_what_was_given() {
        let given = Given::new(Case::new(Sample::text("ab"))).unwrap();
        let said = ManyCases::of(&given, "cka").unwrap_err().to_string();
        assert_eq!(
            said,
            "cka needs a data set, but none was given: a program hands one over (`Given::over`)"
        );
        let given = given.over(ManyCases::over(words(3)).unwrap());
        let many = ManyCases::of(&given, "cka").unwrap();
        assert_eq!((many.len(), many.data().name(), many.others().len()), (3, "words", 3));
        let record = many.record();
        assert_eq!(record.beside, None);
        let data = record.data.unwrap();
        assert_eq!((data.name.as_str(), data.cases, data.sha256), ("words", 3, words(3).hash().unwrap()));
        assert_eq!(format!("{many:?}"), "words[3]");
    }
}
