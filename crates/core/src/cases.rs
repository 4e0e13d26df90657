//! Data sets: cases by number, each made when it is asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::json;

use crate::method::Input;
use crate::{Case, Seed, SubjectError};

/// A data set. It holds nothing that was not asked for: a case is made, used and dropped.
///
/// What is swept over, recorded, learned from and scored is one of these. The same index
/// gives the same case, always.
pub trait Cases: Sync {
    /// What it is called. Journals and stores are kept apart by it.
    fn name(&self) -> &str;

    /// Cases there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A case by its index.
    ///
    /// # Errors
    /// [`SubjectError::NoCase`] past the end, and whatever making it reports.
    fn case(&self, index: usize) -> Result<Case, SubjectError>;

    /// The classes that labels name, in the order of their numbers; none, if cases have no labels.
    fn classes(&self) -> &[String] {
        &[]
    }

    /// The class of a case, by its number; `None` for a case without a label.
    ///
    /// # Errors
    /// As [`Cases::case`].
    fn label(&self, _index: usize) -> Result<Option<usize>, SubjectError> {
        Ok(None)
    }

    /// The group of a case: what cases of one group share would give an answer away, so that none of them is learned from where
    /// another is tested. `None`: it stands for itself.
    ///
    /// # Errors
    /// As [`Cases::case`].
    fn group(&self, _index: usize) -> Result<Option<u64>, SubjectError> {
        Ok(None)
    }

    /// What is in a case, by name: the concepts that it shows, each once; none, if nobody says. What no case of a data set names is
    /// known of none of them.
    ///
    /// # Errors
    /// As [`Cases::case`].
    fn concepts(&self, _index: usize) -> Result<Vec<String>, SubjectError> {
        Ok(Vec::new())
    }

    /// Regions of the pictures of a case that are known to matter, or to show something.
    ///
    /// # Errors
    /// As [`Cases::case`].
    fn masks(&self, _index: usize) -> Result<Vec<Mask>, SubjectError> {
        Ok(Vec::new())
    }

    /// What persons hold to matter in the pictures of a case, each by itself.
    ///
    /// # Errors
    /// As [`Cases::case`].
    fn persons(&self, _index: usize) -> Result<Vec<PersonMap>, SubjectError> {
        Ok(Vec::new())
    }

    /// SHA-256 of all there is in it, in hexadecimal digits: of every sample with the pixels of its pictures, and of labels,
    /// groups and concepts. Data sets that follow from a seed say it from that.
    ///
    /// # Errors
    /// As [`Cases::case`].
    ///
    /// # Cost
    /// Every case is made once, and one is held.
    fn hash(&self) -> Result<String, SubjectError> {
        let mut hash = mmlens_files::sha256(json!([self.len(), self.classes()]).to_string());
        for index in 0..self.len() {
            let record = self.case(index)?.record();
            let (label, group, concepts) = (self.label(index)?, self.group(index)?, self.concepts(index)?);
            let known = match concepts.is_empty() {
                true => json!([record, label, group]),
                false => json!([record, label, group, concepts]),
            };
            hash = mmlens_files::sha256(format!("{hash}{known}"));
        }
        Ok(hash)
    }
}

/// A region of a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    /// What it shows.
    pub name: String,
    /// Which picture of the sample.
    pub picture: usize,
    /// Width and height of the picture, in pixels.
    pub size: [usize; 2],
    /// Whether each pixel lies in it, row by row.
    pub inside: Vec<bool>,
}

/// Where a person looked, or what one said matters: a number for every pixel of a picture.
#[derive(Debug, Clone, PartialEq)]
pub struct PersonMap {
    /// Whose it is.
    pub name: String,
    /// Which picture of the sample.
    pub picture: usize,
    /// Width and height of the picture, in pixels.
    pub size: [usize; 2],
    /// How much each pixel matters, row by row.
    pub values: Vec<f32>,
}

/// The error of an index past the end of a data set.
fn past(data: &dyn Cases, index: usize) -> SubjectError {
    SubjectError::NoCase { data: data.name().to_owned(), index, len: data.len() }
}

impl fmt::Debug for dyn Cases + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.name(), self.len())
    }
}

/// Cases that are there already.
#[derive(Debug, Clone)]
pub struct Listed<'a> {
    name: String,
    cases: &'a [Case],
}

impl<'a> Listed<'a> {
    /// These cases, called so.
    pub fn new(name: impl Into<String>, cases: &'a [Case]) -> Self {
        Self { name: name.into(), cases }
    }
}

impl Cases for Listed<'_> {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> usize {
        self.cases.len()
    }

    fn case(&self, index: usize) -> Result<Case, SubjectError> {
        self.cases.get(index).cloned().ok_or_else(|| past(self, index))
    }
}

/// So many cases, called so, each made by a function of its index.
///
/// ```
/// use mmlens_core::{Case, Cases, Sample, from_fn};
/// let words = from_fn("words", 3, |i| Ok(Case::new(Sample::text("ab".repeat(i + 1)))));
/// assert_eq!(words.len(), 3);
/// assert_eq!(words.case(3).unwrap_err().to_string(), "`words` has no case 3: it has 3");
/// ```
pub fn from_fn<F>(name: impl Into<String>, len: usize, make: F) -> FromFn<F>
where
    F: Fn(usize) -> Result<Case, SubjectError> + Sync,
{
    FromFn { name: name.into(), len, make }
}

/// See [`from_fn`].
#[derive(Clone)]
pub struct FromFn<F> {
    name: String,
    len: usize,
    make: F,
}

impl<F> fmt::Debug for FromFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.name, self.len)
    }
}

impl<F: Fn(usize) -> Result<Case, SubjectError> + Sync> Cases for FromFn<F> {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> usize {
        self.len
    }

    fn case(&self, index: usize) -> Result<Case, SubjectError> {
        if index < self.len { (self.make)(index) } else { Err(past(self, index)) }
    }
}

/// A data set with labels, and groups and concepts if there are any, that somebody else knows.
#[derive(Debug, Clone)]
pub struct Annotated<D> {
    data: D,
    classes: Vec<String>,
    labels: Vec<usize>,
    groups: Option<Vec<u64>>,
    concepts: Option<Vec<Vec<String>>>,
}

impl<D: Cases> Annotated<D> {
    /// The class of each case, by its number.
    ///
    /// # Errors
    /// [`SubjectError::Annotation`] for more or fewer labels than cases, a label that names no class, or a class that comes twice.
    pub fn new<N: Into<String>>(
        data: D,
        classes: impl IntoIterator<Item = N>,
        labels: Vec<usize>,
    ) -> Result<Self, SubjectError> {
        let classes: Vec<String> = classes.into_iter().map(Into::into).collect();
        let wrong = |reason| Err(SubjectError::Annotation { data: data.name().to_owned(), reason });
        if labels.len() != data.len() {
            return wrong(format!("{} labels for {} cases", labels.len(), data.len()));
        }
        if let Some((case, label)) = labels.iter().enumerate().find(|(_, label)| **label >= classes.len()) {
            return wrong(format!("case {case} is of class {label}, and there are {}", classes.len()));
        }
        let mut seen = BTreeSet::new();
        if let Some(twice) = classes.iter().find(|class| !seen.insert(class.as_str())) {
            return wrong(format!("two classes are called `{twice}`"));
        }
        Ok(Self { data, classes, labels, groups: None, concepts: None })
    }

    /// With the group of each case.
    ///
    /// # Errors
    /// [`SubjectError::Annotation`] for more or fewer groups than cases.
    pub fn grouped(self, groups: Vec<u64>) -> Result<Self, SubjectError> {
        if groups.len() != self.data.len() {
            let reason = format!("{} groups for {} cases", groups.len(), self.data.len());
            return Err(SubjectError::Annotation { data: self.data.name().to_owned(), reason });
        }
        Ok(Self { groups: Some(groups), ..self })
    }

    /// With what each case shows, by name, instead of what the data set itself says of that ([`Cases::concepts`]).
    ///
    /// # Errors
    /// [`SubjectError::Annotation`] for more or fewer lists than cases, or a case that names a concept twice.
    pub fn showing<N: Into<String>>(
        self,
        concepts: impl IntoIterator<Item = Vec<N>>,
    ) -> Result<Self, SubjectError> {
        let all = concepts.into_iter().map(|own| own.into_iter().map(Into::into).collect());
        let concepts: Vec<Vec<String>> = all.collect();
        let wrong = |reason| Err(SubjectError::Annotation { data: self.data.name().to_owned(), reason });
        if concepts.len() != self.data.len() {
            return wrong(format!("{} lists of concepts for {} cases", concepts.len(), self.data.len()));
        }
        for (case, own) in concepts.iter().enumerate() {
            let mut seen = BTreeSet::new();
            if let Some(twice) = own.iter().find(|name| !seen.insert(name.as_str())) {
                return wrong(format!("case {case} shows `{twice}` twice"));
            }
        }
        Ok(Self { concepts: Some(concepts), ..self })
    }
}

impl<D: Cases> Cases for Annotated<D> {
    fn name(&self) -> &str {
        self.data.name()
    }

    fn len(&self) -> usize {
        self.data.len()
    }

    fn case(&self, index: usize) -> Result<Case, SubjectError> {
        self.data.case(index)
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn label(&self, index: usize) -> Result<Option<usize>, SubjectError> {
        self.labels.get(index).map(|label| Some(*label)).ok_or_else(|| past(self, index))
    }

    fn group(&self, index: usize) -> Result<Option<u64>, SubjectError> {
        match &self.groups {
            Some(groups) => groups.get(index).map(|group| Some(*group)).ok_or_else(|| past(self, index)),
            None => self.data.group(index),
        }
    }

    fn concepts(&self, index: usize) -> Result<Vec<String>, SubjectError> {
        match &self.concepts {
            Some(concepts) => concepts.get(index).cloned().ok_or_else(|| past(self, index)),
            None => self.data.concepts(index),
        }
    }

    fn masks(&self, index: usize) -> Result<Vec<Mask>, SubjectError> {
        self.data.masks(index)
    }

    fn persons(&self, index: usize) -> Result<Vec<PersonMap>, SubjectError> {
        self.data.persons(index)
    }
}

/// Some cases of a data set, in an order of their own.
#[derive(Debug, Clone)]
pub struct Subset<'a> {
    data: &'a dyn Cases,
    name: String,
    chosen: Vec<usize>,
}

impl<'a> Subset<'a> {
    /// The cases with these indices; `called` is put behind the name of the data set.
    ///
    /// # Errors
    /// [`SubjectError::NoCase`] for an index past the end.
    pub fn new(data: &'a dyn Cases, called: &str, chosen: Vec<usize>) -> Result<Self, SubjectError> {
        if let Some(index) = chosen.iter().find(|index| **index >= data.len()) {
            return Err(past(data, *index));
        }
        Ok(Self { data, name: format!("{}/{called}", data.name()), chosen })
    }

    /// Two parts of a data set, of which the second is to hold `share` of the groups, chosen by a seed ([`held_out`]). A case without
    /// a group stands for itself.
    ///
    /// # Errors
    /// [`SubjectError::Annotation`] for fewer than two groups, or a share that is not between zero and one; whatever asking for groups
    /// reports.
    pub fn split(data: &'a dyn Cases, share: f64, seed: Seed) -> Result<(Self, Self), SubjectError> {
        let out = held_out(&groups(data)?, share, seed).ok_or_else(|| SubjectError::Annotation {
            data: data.name().to_owned(),
            reason: format!(
                "{share} of its groups cannot be held out: that takes two groups, and a share between 0 and 1"
            ),
        })?;
        let part = |which: bool| {
            out.iter().enumerate().filter(|(_, out)| **out == which).map(|(index, _)| index).collect()
        };
        Ok((Self::new(data, "kept", part(false))?, Self::new(data, "held out", part(true))?))
    }

    /// Which cases of the whole they are.
    pub fn chosen(&self) -> &[usize] {
        &self.chosen
    }

    fn of_all(&self, index: usize) -> Result<usize, SubjectError> {
        self.chosen.get(index).copied().ok_or_else(|| past(self, index))
    }
}

impl Cases for Subset<'_> {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> usize {
        self.chosen.len()
    }

    fn case(&self, index: usize) -> Result<Case, SubjectError> {
        self.data.case(self.of_all(index)?)
    }

    fn classes(&self) -> &[String] {
        self.data.classes()
    }

    fn label(&self, index: usize) -> Result<Option<usize>, SubjectError> {
        self.data.label(self.of_all(index)?)
    }

    fn group(&self, index: usize) -> Result<Option<u64>, SubjectError> {
        self.data.group(self.of_all(index)?)
    }

    fn concepts(&self, index: usize) -> Result<Vec<String>, SubjectError> {
        self.data.concepts(self.of_all(index)?)
    }

    fn masks(&self, index: usize) -> Result<Vec<Mask>, SubjectError> {
        self.data.masks(self.of_all(index)?)
    }

    fn persons(&self, index: usize) -> Result<Vec<PersonMap>, SubjectError> {
        self.data.persons(self.of_all(index)?)
    }
}

/// The group of every case of a data set; a case without one stands for itself. Groups keep their numbers where every case has one,
/// and are numbered anew where only some have.
///
/// # Errors
/// As [`Cases::group`].
pub fn groups(data: &dyn Cases) -> Result<Vec<u64>, SubjectError> {
    let said: Vec<Option<u64>> = (0..data.len()).map(|index| data.group(index)).collect::<Result<_, _>>()?;
    if let Some(all) = said.iter().copied().collect() {
        return Ok(all);
    }
    let own: Vec<(bool, u64)> = said
        .into_iter()
        .enumerate()
        .map(|(index, group)| group.map_or((true, index as u64), |group| (false, group)))
        .collect();
    let order: BTreeSet<(bool, u64)> = own.iter().copied().collect();
    let numbers: BTreeMap<(bool, u64), u64> = order.into_iter().zip(0..).collect();
    Ok(own.iter().filter_map(|group| numbers.get(group).copied()).collect())
}

/// Which items are held out: all of some groups and none of the others. `share` of the groups, rounded, at least one and not all;
/// which, follows from the seed and the order of the groups. `None` for fewer than two groups, or a share that is not between zero
/// and one.
pub fn held_out<G: Ord + Copy>(groups: &[G], share: f64, seed: Seed) -> Option<Vec<bool>> {
    let all: BTreeSet<G> = groups.iter().copied().collect();
    if all.len() < 2 || !(share > 0.0 && share < 1.0) {
        return None;
    }
    let drawn = all.into_iter().enumerate().map(|(at, group)| (group, seed.at(at as u64).value()));
    let mut drawn: Vec<(G, u64)> = drawn.collect();
    drawn.sort_by_key(|(group, draw)| (*draw, *group));
    let count = ((share * drawn.len() as f64).round() as usize).clamp(1, drawn.len() - 1);
    let out: BTreeMap<G, bool> =
        drawn.into_iter().enumerate().map(|(rank, (group, _))| (group, rank < count)).collect();
    Some(groups.iter().map(|group| out.get(group).copied().unwrap_or(false)).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Annotated, Cases, Listed, Subset, from_fn, groups, held_out};
    use crate::{Case, Sample, Seed};

    fn words(len: usize) -> impl Cases + std::fmt::Debug {
        from_fn("words", len, |i| Ok(Case::new(Sample::text("a".repeat(i + 1)))))
    }

    #[test]
    fn a_list_and_a_function_of_the_same_cases_are_the_same_data() {
        let made = words(4);
        let cases: Vec<Case> = (0..4).map(|i| made.case(i).unwrap()).collect();
        assert_eq!(Listed::new("other", &cases).hash().unwrap(), made.hash().unwrap());
        assert_ne!(words(3).hash().unwrap(), made.hash().unwrap());
        let labelled = |labels| Annotated::new(words(4), ["x", "y"], labels).unwrap().hash().unwrap();
        assert_ne!(labelled(vec![0, 1, 0, 1]), labelled(vec![0, 1, 1, 1]));
        assert_ne!(labelled(vec![0, 1, 0, 1]), made.hash().unwrap());
        let said = Listed::new("other", &cases).case(4).unwrap_err().to_string();
        assert_eq!(said, "`other` has no case 4: it has 4");
    }

    #[test]
    fn labels_that_do_not_fit_are_refused() {
        let said = |classes: &[&str], labels: &[usize]| {
            Annotated::new(words(2), classes.iter().copied(), labels.to_vec()).err().unwrap().to_string()
        };
        assert_eq!(said(&["x"], &[0]), "labels of `words`: 1 labels for 2 cases");
        assert_eq!(said(&["x"], &[0, 1]), "labels of `words`: case 1 is of class 1, and there are 1");
        assert_eq!(said(&["x", "x"], &[0, 1]), "labels of `words`: two classes are called `x`");
        let fits = || Annotated::new(words(2), ["x"], vec![0, 0]).unwrap();
        let said = fits().grouped(vec![1]).unwrap_err().to_string();
        assert_eq!(said, "labels of `words`: 1 groups for 2 cases");
        let said = fits().showing([vec!["a"]]).unwrap_err().to_string();
        assert_eq!(said, "labels of `words`: 1 lists of concepts for 2 cases");
        let said = fits().showing([vec![], vec!["a", "b", "a"]]).unwrap_err().to_string();
        assert_eq!(said, "labels of `words`: case 1 shows `a` twice");
    }

    #[test]
    fn concepts_are_those_said_last() {
        let data = Annotated::new(words(2), ["x"], vec![0, 0]).unwrap();
        assert!(data.concepts(0).unwrap().is_empty());
        let data = data.showing([vec!["a"], vec![]]).unwrap();
        let data = Annotated::new(data, ["y"], vec![0, 0]).unwrap();
        assert_eq!(data.concepts(0).unwrap(), ["a"]);
        assert!(data.concepts(1).unwrap().is_empty());
        let data = data.showing([vec![], vec!["b", "c"]]).unwrap();
        assert!(data.concepts(0).unwrap().is_empty());
        assert_eq!(data.concepts(1).unwrap(), ["b", "c"]);
        assert_eq!(data.concepts(2).unwrap_err().to_string(), "`words` has no case 2: it has 2");
    }

    #[test]
    fn groups_are_not_torn_apart() {
        let groups: Vec<u64> = (0..60).map(|i| i % 20).collect();
        let data = Annotated::new(words(60), ["x"], vec![0; 60]).unwrap().grouped(groups.clone()).unwrap();
        let (kept, out) = Subset::split(&data, 0.25, Seed(3)).unwrap();
        assert_eq!((kept.len(), out.len()), (45, 15));
        let of = |part: &Subset<'_>| part.chosen().iter().map(|i| groups[*i]).collect::<BTreeSet<_>>();
        assert!(of(&kept).is_disjoint(&of(&out)));
        assert_eq!((kept.name(), out.name()), ("words/kept", "words/held out"));
        assert_eq!(out.group(0).unwrap(), Some(groups[out.chosen()[0]]));
        let (again, _) = Subset::split(&data, 0.25, Seed(3)).unwrap();
        assert_eq!(again.chosen(), kept.chosen());
        let (other, _) = Subset::split(&data, 0.25, Seed(4)).unwrap();
        assert_ne!(other.chosen(), kept.chosen());
        assert!(Subset::new(&data, "some", vec![60]).is_err());
    }

    #[test]
    fn cases_that_stand_for_themselves_are_of_no_group() {
        struct Some([Option<u64>; 4]);
        impl Cases for Some {
            fn name(&self) -> &str {
                "some"
            }

            fn len(&self) -> usize {
                self.0.len()
            }

            fn case(&self, _: usize) -> Result<Case, crate::SubjectError> {
                Ok(Case::new(Sample::text("a")))
            }

            fn group(&self, index: usize) -> Result<Option<u64>, crate::SubjectError> {
                Ok(self.0[index])
            }
        }
        // The second case and group 1 are two things.
        assert_eq!(groups(&Some([Option::Some(1), None, Option::Some(1), None])).unwrap(), [0, 1, 0, 2]);
        assert_eq!(groups(&Some([None; 4])).unwrap(), [0, 1, 2, 3]);
        assert_eq!(groups(&Some([7, 9, 7, 7].map(Option::Some))).unwrap(), [7, 9, 7, 7]);
    }

    #[test]
    fn a_part_is_neither_nothing_nor_all() {
        let count = |groups: usize, share: f64| {
            let groups: Vec<usize> = (0..groups).collect();
            held_out(&groups, share, Seed(1)).map(|out| out.iter().filter(|out| **out).count())
        };
        assert_eq!([count(10, 0.3), count(10, 0.01), count(10, 0.99)], [Some(3), Some(1), Some(9)]);
        assert_eq!(
            [count(1, 0.5), count(0, 0.5), count(9, 0.0), count(9, 1.0), count(9, f64::NAN)],
            [None; 5]
        );
    }
}
