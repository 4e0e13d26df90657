//! A table: values with a name, a unit and axes.

use crate::{Axis, Role, TableError, Unit};

/// Values with a name, a unit and axes, row-major: the last axis runs fastest. No axes: one value.
#[derive(Debug, Clone, PartialEq)]
pub struct Labelled {
    name: String,
    unit: Unit,
    axes: Vec<Axis>,
    values: Values,
    aside: bool,
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

impl AsRef<[Self]> for Labelled {
    fn as_ref(&self) -> &[Self] {
        std::slice::from_ref(self)
    }
}

/// What the name of a table ends in that says of every token of an answer what the table without it says of all of them.
pub const BY_TOKEN: &str = " by answer token";

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
        Ok(Self { name, unit, axes, values, aside: false })
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
        Self { name: name.into(), unit, axes: Vec::new(), values: Values::Numbers(vec![value]), aside: false }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is about: its name without the numbers of entries. A quantity of which a finding has one table for each picture,
    /// or for each tile of one, is called `drop/0`, `drop/1`, or `pixels/0/picture`: the number tells tables apart and nothing
    /// else. On which picture a table lies, its labels say.
    #[must_use]
    pub fn quantity(&self) -> String {
        let words = self.name.split('/').filter(|part| part.parse::<usize>().is_err());
        match words.collect::<Vec<_>>().join("/") {
            bare if bare.is_empty() => self.name.clone(),
            words => words,
        }
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

    /// The numbers as an array whose axes are those of the table; `None` for a table of texts.
    #[must_use]
    pub fn to_array(&self) -> Option<ndarray::ArrayD<f32>> {
        ndarray::ArrayD::from_shape_vec(self.shape(), self.as_numbers()?.to_vec()).ok()
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
        let aside = self.aside;
        Ok(Self { aside, ..Self::new(self.name, self.unit, axes, self.values)? })
    }

    /// The same table, standing aside: kept in the file, but not part of what is shown of a finding. Single coordinates that other
    /// tables sum up, or the same in another unit.
    #[must_use]
    pub fn aside(mut self) -> Self {
        self.aside = true;
        self
    }

    /// Whether it stands aside.
    #[must_use]
    pub const fn is_aside(&self) -> bool {
        self.aside
    }

    /// Place of an index among the row-major values.
    pub(crate) fn offset(&self, index: &[usize]) -> Option<usize> {
        if index.len() != self.axes.len() {
            return None;
        }
        index
            .iter()
            .zip(&self.axes)
            // no NaN: whole numbers
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
        Self { name: self.name.clone(), unit: self.unit, axes, values, aside: self.aside }
    }
}

/// Product of lengths; a zero anywhere makes it zero, whatever the others would overflow to.
fn product(lengths: &[usize]) -> Option<usize> {
    if lengths.contains(&0) {
        return Some(0);
    }
    lengths.iter().try_fold(1usize, |product, &len| product.checked_mul(len))
}

#[cfg(test)]
mod tests {
    use crate::{Axis, Labelled, PatchLabel, Role, TableError, Unit};

    #[test]
    fn the_number_of_values_is_checked() {
        let axes = || vec![Axis::count(Role::Layer, 2), Axis::count(Role::Head, 3)];
        let error = Labelled::numbers("heads", Unit::Ratio, axes(), vec![0.0; 5]).unwrap_err();
        assert_eq!(error.to_string(), "table `heads` has 5 values; its axes [2, 3] ask for 6");
        let table = Labelled::numbers("heads", Unit::Ratio, axes(), vec![0.0; 6]).unwrap();
        assert_eq!((table.shape(), table.len(), table.rank()), (vec![2, 3], 6, 2));
    }

    #[test]
    fn lengths_that_overflow_are_refused() {
        let axes = vec![Axis::count(Role::Layer, usize::MAX), Axis::count(Role::Head, 3)];
        let error = Labelled::numbers("huge", Unit::Ratio, axes, vec![]).unwrap_err();
        assert!(matches!(error, TableError::TooLarge { .. }), "{error}");
        let axes = [usize::MAX, usize::MAX, 0].map(|len| Axis::count(Role::Layer, len)).to_vec();
        assert!(Labelled::numbers("empty", Unit::Ratio, axes, vec![]).unwrap().is_empty());
    }

    #[test]
    fn a_scalar_has_no_axes() {
        let scalar = Labelled::scalar("gap", Unit::Logit, 0.25);
        assert_eq!((scalar.rank(), scalar.as_scalar(), scalar.get(&[])), (0, Some(0.25), Some(0.25)));
        assert_eq!(scalar.get(&[0]), None);
    }

    #[test]
    fn a_place_that_is_no_number_is_refused() {
        let bbox = [0.0, 0.0, f32::NAN, 8.0];
        let patch = PatchLabel { image: 0, tile: 0, frame: 0, row: 0, col: 0, bbox };
        let error = Labelled::numbers("map", Unit::Logit, vec![Axis::patches(vec![patch])], vec![1.0]);
        assert_eq!(
            error.unwrap_err().to_string(),
            "table `map`, patch axis, position 0: [0.0, 0.0, NaN, 8.0] is not a place in a picture"
        );
    }

    #[test]
    fn an_index_and_its_offset_are_inverse() {
        let axes = [2, 3, 4].map(|len| Axis::count(Role::Layer, len)).to_vec();
        let table = Labelled::numbers("t", Unit::None, axes, (0..24u8).map(f32::from).collect()).unwrap();
        for offset in 0..24 {
            let index = table.unravel(offset);
            assert_eq!(table.offset(&index), Some(offset));
            assert_eq!(table.get(&index), Some(offset as f32));
        }
        // 1 * 12 + 2 * 4 + 3 = 23
        assert_eq!(table.unravel(23), [1, 2, 3]);
        assert_eq!(table.offset(&[0, 3, 0]), None);
    }

    #[test]
    fn a_table_is_an_array() {
        let axes = [2, 3].map(|len| Axis::count(Role::Layer, len)).to_vec();
        let table = Labelled::numbers("t", Unit::None, axes, (0..6u8).map(f32::from).collect()).unwrap();
        let array = table.to_array().unwrap();
        assert_eq!((array.shape(), array[[1, 2]]), (&[2, 3][..], 5.0));
        let texts = Labelled::texts("t", vec![Axis::count(Role::Rank, 1)], vec!["a".to_owned()]).unwrap();
        assert!(texts.to_array().is_none());
        assert_eq!(Labelled::scalar("s", Unit::Logit, 2.0).to_array().unwrap()[[]], 2.0);
    }

    #[test]
    fn values_may_cross_threads() {
        fn crosses<T: Send + Sync + Unpin + 'static>() {}
        crosses::<Labelled>();
        crosses::<crate::Finding>();
        crosses::<crate::FileError>();
    }
}
