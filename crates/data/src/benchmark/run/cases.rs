//! A data set on disk as cases: to sweep over, to record, to learn from.

use std::collections::BTreeSet;

use mmlens_core::{Case, Cases, Mask, SubjectError};

use super::answer::sample;
use super::{Settings, Source};
use crate::benchmark::{Item, Items, ReadError};

/// Items as cases: the question about the pictures, the label as a class, what is marked as masks. Groups are those of the items.
pub struct ItemCases<'a> {
    name: String,
    items: &'a dyn Items,
    settings: &'a Settings,
    len: usize,
    classes: Vec<String>,
}

impl<'a> ItemCases<'a> {
    /// The first `len` items, called so. They have no classes, unless [`ItemCases::labelled`] finds them.
    pub fn new(name: impl Into<String>, items: &'a dyn Items, settings: &'a Settings, len: usize) -> Self {
        let len = len.min(items.len());
        Self { name: name.into(), items, settings, len, classes: Vec::new() }
    }

    /// With the labels of the items as classes, in the order of their names.
    ///
    /// # Errors
    /// An item that cannot be read.
    pub fn labelled(mut self) -> Result<Self, ReadError> {
        let mut classes = BTreeSet::new();
        for index in 0..self.len {
            classes.extend(self.items.item(index)?.label);
        }
        self.classes = classes.into_iter().collect();
        Ok(self)
    }

    fn item(&self, index: usize) -> Result<Item, SubjectError> {
        if index >= self.len {
            return Err(SubjectError::NoCase { data: self.name.clone(), index, len: self.len });
        }
        self.items
            .item(index)
            .map_err(|error| SubjectError::Annotation { data: self.name.clone(), reason: error.to_string() })
    }
}

impl Cases for ItemCases<'_> {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> usize {
        self.len
    }

    fn case(&self, index: usize) -> Result<Case, SubjectError> {
        let item = self.item(index)?;
        let pictures =
            item.pictures.iter().map(crate::benchmark::Shown::open).collect::<Result<Vec<_>, _>>()?;
        Ok(Case::new(sample(&item, &pictures, self.settings)))
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn label(&self, index: usize) -> Result<Option<usize>, SubjectError> {
        let label = self.item(index)?.label;
        Ok(label.and_then(|label| self.classes.binary_search(&label).ok()))
    }

    fn group(&self, index: usize) -> Result<Option<u64>, SubjectError> {
        // The first eight bytes of a hash, as a number.
        let hash = mmlens_files::sha256(self.item(index)?.group);
        Ok(hash.get(..16).and_then(|digits| u64::from_str_radix(digits, 16).ok()))
    }

    fn masks(&self, index: usize) -> Result<Vec<Mask>, SubjectError> {
        let item = self.item(index)?;
        let Some(size) = item.size else { return Ok(Vec::new()) };
        let mask = |marked: crate::benchmark::Marked| {
            let inside = match &marked.outline {
                Some(outline) => outline.pixels(size),
                None => crate::benchmark::Outline::of_box(marked.bbox).pixels(size),
            };
            Mask { name: marked.name, picture: 0, size, inside }
        };
        Ok(item.marked.into_iter().map(mask).collect())
    }
}

/// What a data set is called, with the hash of its files: two of one name are not taken for one.
pub(super) fn named(source: &Source, hash: &str) -> String {
    let file = source.data.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    format!("{} {file} {}", source.reader, hash.get(..16).unwrap_or(hash))
}
