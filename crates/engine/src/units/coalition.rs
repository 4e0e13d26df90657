//! A coalition: which units of a sample are there.

/// Which of a list of units are there; the others are absent. One bit for each.
///
/// ```
/// use mmlens_engine::Coalition;
/// let without_two = Coalition::all(5).without(2);
/// assert_eq!(without_two.absent().collect::<Vec<_>>(), [2]);
/// assert_eq!(Coalition::of(5, [0, 3]).to_string(), "{0, 3} of 5");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Coalition {
    units: usize,
    /// 64 units in each, the first in the lowest bit.
    bits: Vec<u64>,
}

impl Coalition {
    /// With every unit there.
    pub fn all(units: usize) -> Self {
        Self::of(units, 0..units)
    }

    /// With no unit there.
    pub fn none(units: usize) -> Self {
        Self { units, bits: vec![0; units.div_ceil(64)] }
    }

    /// With these there. What is no unit is left out.
    pub fn of(units: usize, present: impl IntoIterator<Item = usize>) -> Self {
        present.into_iter().fold(Self::none(units), Self::with)
    }

    /// With the units there whose bits are set in a number, the first in the lowest bit: all coalitions of up to 63 units are the numbers
    /// below `2^units`. Units beyond the 64th are absent.
    pub fn numbered(units: usize, number: u64) -> Self {
        Self::of(units, (0..units.min(64)).filter(|unit| number >> unit & 1 == 1))
    }

    /// With one more.
    #[must_use]
    pub fn with(mut self, unit: usize) -> Self {
        if let (Some(bits), true) = (self.bits.get_mut(unit / 64), unit < self.units) {
            *bits |= 1 << (unit % 64);
        }
        self
    }

    /// With one less.
    #[must_use]
    pub fn without(mut self, unit: usize) -> Self {
        if let Some(bits) = self.bits.get_mut(unit / 64) {
            *bits &= !(1 << (unit % 64));
        }
        self
    }

    /// The other units.
    #[must_use]
    pub fn others(&self) -> Self {
        Self::of(self.units, self.absent())
    }

    /// Whether a unit is there.
    pub fn has(&self, unit: usize) -> bool {
        self.bits.get(unit / 64).is_some_and(|bits| bits >> (unit % 64) & 1 == 1)
    }

    /// Units there could be.
    pub fn units(&self) -> usize {
        self.units
    }

    /// Units there are.
    pub fn size(&self) -> usize {
        self.bits.iter().map(|bits| bits.count_ones() as usize).sum()
    }

    /// The units that are there, in ascending order.
    pub fn present(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.units).filter(|unit| self.has(*unit))
    }

    /// The units that are not, in ascending order.
    pub fn absent(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.units).filter(|unit| !self.has(*unit))
    }
}

impl std::fmt::Display for Coalition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let own: Vec<String> = self.present().map(|unit| unit.to_string()).collect();
        write!(f, "{{{}}} of {}", own.join(", "), self.units)
    }
}

#[cfg(test)]
mod tests {
    use super::Coalition;

    #[test]
    fn bits_are_kept_beyond_one_word() {
        let some = Coalition::of(130, [0, 63, 64, 129, 130, 500]);
        assert_eq!(some.present().collect::<Vec<_>>(), [0, 63, 64, 129]);
        assert_eq!((some.size(), some.others().size(), some.units()), (4, 126, 130));
        assert_eq!(some.others().others(), some);
        assert_eq!(some.clone().without(64).with(64), some);
        assert_eq!(Coalition::none(0), Coalition::all(0));
    }

    #[test]
    fn numbers_name_every_coalition_once() {
        let mut all: Vec<Coalition> = (0..8).map(|number| Coalition::numbered(3, number)).collect();
        assert_eq!(all[5].present().collect::<Vec<_>>(), [0, 2]);
        assert_eq!(Coalition::numbered(70, u64::MAX).absent().collect::<Vec<_>>(), [64, 65, 66, 67, 68, 69]);
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 8);
    }
}
