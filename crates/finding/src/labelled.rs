//! A table: values with a name, a unit and axes.

use crate::{Axis, Role, TableError, Unit};

/// Values with a name, a unit and axes, row-major: the last axis runs fastest. No axes: one value.
#[derive(Debug, Clone, PartialEq)]
pub struct Labelled {
    name: String,
    unit: Unit,
    axes: Vec<Axis>,
    values: Values,
}

/// The values of a table.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// Numbers.
    Numbers(Vec<f32>),
    /// Texts, such as the words that a lens reads at each layer.
    Texts(Vec<String>),
}

impl Values {
    /// How many.
    #[must_use]
    pub const fn len(&self) -> usize {
        match self {
            Self::Numbers(numbers) => numbers.len(),
            Self::Texts(texts) => texts.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Labelled {
    /// A table of any values.
    ///
    /// # Errors
    /// [`TableError::Count`] if the number of values is not the product of the axis lengths,
    /// [`TableError::TooLarge`] if that product cannot be counted, [`TableError::Place`] if a box or span holds an
    /// infinity or a NaN.
    pub fn new(
        name: impl Into<String>,
        unit: Unit,
        axes: Vec<Axis>,
        values: Values,
    ) -> Result<Self, TableError> {
        let name = name.into();
        let lengths: Vec<usize> = axes.iter().map(Axis::len).collect();
        let Some(expected) = product(&lengths) else {
            return Err(TableError::TooLarge { table: name, lengths });
        };
        if values.len() != expected {
            return Err(TableError::Count { table: name, lengths, expected, found: values.len() });
        }
        for axis in &axes {
            if let Some((index, found)) = axis.labels.first_not_finite() {
                return Err(TableError::Place { table: name, role: axis.role, index, found });
            }
        }
        Ok(Self { name, unit, axes, values })
    }

    /// A table of numbers.
    ///
    /// # Errors
    /// As [`Labelled::new`].
    pub fn numbers(
        name: impl Into<String>,
        unit: Unit,
        axes: Vec<Axis>,
        numbers: Vec<f32>,
    ) -> Result<Self, TableError> {
        Self::new(name, unit, axes, Values::Numbers(numbers))
    }

    /// A table of texts, without a unit.
    ///
    /// # Errors
    /// As [`Labelled::new`].
    pub fn texts(name: impl Into<String>, axes: Vec<Axis>, texts: Vec<String>) -> Result<Self, TableError> {
        Self::new(name, Unit::None, axes, Values::Texts(texts))
    }

    /// One number without axes.
    #[must_use]
    pub fn scalar(name: impl Into<String>, unit: Unit, value: f32) -> Self {
        Self { name: name.into(), unit, axes: Vec::new(), values: Values::Numbers(vec![value]) }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The unit of the numbers.
    #[must_use]
    pub const fn unit(&self) -> Unit {
        self.unit
    }

    /// The axes, outermost first.
    #[must_use]
    pub fn axes(&self) -> &[Axis] {
        &self.axes
    }

    /// The values, row-major.
    #[must_use]
    pub const fn values(&self) -> &Values {
        &self.values
    }

    /// The numbers, row-major; `None` for a table of texts.
    #[must_use]
    pub fn as_numbers(&self) -> Option<&[f32]> {
        match &self.values {
            Values::Numbers(numbers) => Some(numbers),
            Values::Texts(_) => None,
        }
    }

    /// The texts, row-major; `None` for a table of numbers.
    #[must_use]
    pub fn as_texts(&self) -> Option<&[String]> {
        match &self.values {
            Values::Numbers(_) => None,
            Values::Texts(texts) => Some(texts),
        }
    }

    /// The number of a table that holds exactly one; `None` for any other.
    #[must_use]
    pub fn as_scalar(&self) -> Option<f32> {
        match self.as_numbers()? {
            [one] => Some(*one),
            _ => None,
        }
    }

    /// Number of axes.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.axes.len()
    }

    /// Length of each axis.
    #[must_use]
    pub fn shape(&self) -> Vec<usize> {
        self.axes.iter().map(Axis::len).collect()
    }

    /// Number of values.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is no value.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Number of the first axis with this role.
    #[must_use]
    pub fn axis_of(&self, role: Role) -> Option<usize> {
        self.axes.iter().position(|axis| axis.role == role)
    }

    /// The roles of the axes, outermost first.
    #[must_use]
    pub fn roles(&self) -> Vec<Role> {
        self.axes.iter().map(|axis| axis.role).collect()
    }

    /// The number at this index; `None` outside the table or in a table of texts.
    #[must_use]
    pub fn get(&self, index: &[usize]) -> Option<f32> {
        self.as_numbers()?.get(self.offset(index)?).copied()
    }

    /// The text at this index; `None` outside the table or in a table of numbers.
    #[must_use]
    pub fn get_text(&self, index: &[usize]) -> Option<&str> {
        self.as_texts()?.get(self.offset(index)?).map(String::as_str)
    }

    /// The same table under another name.
    #[must_use]
    pub fn renamed(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The same values under other axes of the same lengths: the named act that makes two prompts comparable.
    ///
    /// # Errors
    /// As [`Labelled::new`], and [`TableError::Axes`] or [`TableError::Ranks`] if a length or the number of axes changes.
    pub fn relabelled(self, axes: Vec<Axis>) -> Result<Self, TableError> {
        crate::compare::same_lengths(&self, &axes)?;
        Self::new(self.name, self.unit, axes, self.values)
    }

    /// Place of an index among the row-major values.
    pub(crate) fn offset(&self, index: &[usize]) -> Option<usize> {
        if index.len() != self.axes.len() {
            return None;
        }
        index
            .iter()
            .zip(&self.axes)
            .try_fold(0, |offset, (&i, axis)| (i < axis.len()).then(|| offset * axis.len() + i))
    }

    /// Index of a place among the row-major values.
    pub(crate) fn unravel(&self, mut offset: usize) -> Vec<usize> {
        let mut index = vec![0; self.axes.len()];
        for (slot, axis) in index.iter_mut().zip(&self.axes).rev() {
            let len = axis.len().max(1);
            *slot = offset % len;
            offset /= len;
        }
        index
    }

    /// The same name and unit over other axes and values that are known to fit.
    pub(crate) fn rebuilt(&self, axes: Vec<Axis>, values: Values) -> Self {
        Self { name: self.name.clone(), unit: self.unit, axes, values }
    }
}

/// Product of lengths; a zero anywhere makes it zero, whatever the others would overflow to.
fn product(lengths: &[usize]) -> Option<usize> {
    if lengths.contains(&0) {
        return Some(0);
    }
    lengths.iter().try_fold(1usize, |product, &len| product.checked_mul(len))
}
