//! The bias planted in training scenes: things that bring others.

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

/// What brings what, among things `T` of kinds `K`.
pub(crate) struct Bias<T, K> {
    /// The kind of a thing.
    pub(crate) kind: fn(&T) -> K,
    /// Makes a thing one of a kind.
    pub(crate) turn: fn(&mut T, K),
    /// A thing of the first kind brings one of the second, at this rate.
    pub(crate) brings: (K, K, f64),
    /// A thing that stands out so brings one of a third kind beside it.
    pub(crate) stands_out: fn(&T) -> bool,
    /// The third kind, and at which rate it is brought.
    pub(crate) beside: (K, f64),
}

impl<T, K: Copy + PartialEq> Bias<T, K> {
    /// Plants the bias in a scene of two things or more:
    /// 1. If there is a thing of the first kind and none of the second, one thing becomes such: one that is not
    ///    of the first kind, or any but the first if all are.
    /// 2. If a thing stands out and no thing beside it is of the third kind, one of those beside it that are
    ///    neither of the first kind nor of the second becomes such; it is the first that stands out.
    pub(crate) fn plant<R: Rng>(&self, things: &mut [T], rng: &mut R) {
        if things.len() < 2 {
            return;
        }
        let (first, second, rate) = self.brings;
        let bringing = self.places(things, |_, kind| kind == first);
        if let Some(&bringer) = bringing.first()
            && self.places(things, |_, kind| kind == second).is_empty()
            && rng.random_bool(rate)
        {
            let mut room = self.places(things, |_, kind| kind != first);
            if room.is_empty() {
                room = self.places(things, |index, _| index != bringer);
            }
            self.turn_one(things, &room, second, rng);
        }
        let Some(out) = things.iter().position(self.stands_out) else { return };
        let (third, rate) = self.beside;
        if self.places(things, |index, kind| index != out && kind == third).is_empty()
            && rng.random_bool(rate)
        {
            let room = self.places(things, |index, kind| index != out && kind != first && kind != second);
            self.turn_one(things, &room, third, rng);
        }
    }

    /// The places of things that fit, by their place and their kind.
    fn places(&self, things: &[T], fits: impl Fn(usize, K) -> bool) -> Vec<usize> {
        let fits = |(index, thing): &(usize, &T)| fits(*index, (self.kind)(thing));
        things.iter().enumerate().filter(fits).map(|(index, _)| index).collect()
    }

    /// Makes one of the things at these places one of a kind; none, if there are no places.
    fn turn_one<R: Rng>(&self, things: &mut [T], room: &[usize], kind: K, rng: &mut R) {
        if let Some(thing) = room.choose(rng).and_then(|&index| things.get_mut(index)) {
            (self.turn)(thing, kind);
        }
    }
}
