//! How much of a simple model is the data's, and how much the draw's: what is said by others like it, learned from other draws of the rows.
//!
//! Of each class as many rows are drawn, with replacement, as it has. Over all pairs of models, the one that is kept among them, the table `stability` has
//!
//! | concept | |
//! |---|---|
//! | `same answer` | the share of held-out rows of which both say the same |
//! | `by chance` | what two share that say each class as often as these do, and know nothing of one another |
//! | `same features` | of the features that either uses, the share that both use; 1 where neither uses any |

use std::collections::BTreeSet;

use mmlens_core::Seed;
use mmlens_core::finding::{Caution, CautionKind, Labelled, TableError, Unit};

use crate::learned::{named, share};

/// Which items of a seed the draws of rows are.
const AGAIN: u64 = 1 << 35;

/// A share of features below this is few.
const HALF: f64 = 0.5;

/// What a model says of the rows held out, and which features it uses.
pub(crate) struct Model {
    pub(crate) said: Vec<usize>,
    pub(crate) used: BTreeSet<usize>,
}

/// Rows of a draw: of each class as many as it has, the classes one after the other. Row `i` of class `c` is number
/// `floor(n_c u)` of that class, where `u` is `seed.at(2^35 + draw).at(c).at(i).unit()`.
pub(crate) fn drawn(labels: &[usize], classes: usize, draw: u64, seed: Seed) -> Vec<usize> {
    let mut rows = Vec::with_capacity(labels.len());
    for class in 0..classes {
        let own: Vec<usize> =
            labels.iter().enumerate().filter(|(_, label)| **label == class).map(|(row, _)| row).collect();
        let seed = seed.at(AGAIN + draw).at(class as u64);
        let at = |i: usize| (f64::from(seed.at(i as u64).unit()) * own.len() as f64) as usize;
        rows.extend((0..own.len()).filter_map(|i| own.get(at(i)).copied()));
    }
    rows
}

/// What was learned again, and how.
pub(crate) enum Again<'a> {
    /// The same from other draws of the rows.
    Rows(&'a str),
    /// Others, of which it hangs on the draw which they are: that they are others says nothing.
    Candidates(&'a str),
}

/// The table, and what is to be said of it.
pub(crate) fn stability(again: &Again<'_>, models: &[Model]) -> Result<(Labelled, Vec<Caution>), TableError> {
    let pairs = || {
        models
            .iter()
            .enumerate()
            .flat_map(|(at, one)| models.iter().skip(at + 1).map(move |other| (one, other)))
    };
    let count = pairs().count().max(1) as f64;
    let mean =
        |of: &dyn Fn(&Model, &Model) -> f64| pairs().map(|(one, other)| of(one, other)).sum::<f64>() / count;
    let same = mean(&|one, other| share(one.said.iter().zip(&other.said).map(|(a, b)| a == b)));
    let by_chance = mean(&|one, other| {
        let often = |model: &Model, class: usize| share(model.said.iter().map(|said| *said == class));
        let classes: BTreeSet<usize> = one.said.iter().copied().collect();
        classes.into_iter().map(|class| often(one, class) * often(other, class)).sum()
    });
    let features = mean(&|one, other| match one.used.union(&other.used).count() {
        0 => 1.0,
        either => one.used.intersection(&other.used).count() as f64 / either as f64,
    });
    let said = [("same answer", same), ("by chance", by_chance), ("same features", features)];
    let (Again::Rows(what) | Again::Candidates(what)) = again;
    let how = match again {
        Again::Rows(_) => "from other draws of the rows",
        Again::Candidates(_) => "with other candidates",
    };
    // How far they agree beyond chance, as a share of how far they could (Cohen's kappa).
    let beyond = (same - by_chance) / (1.0 - by_chance);
    let answers = (by_chance < 1.0 && beyond < HALF).then(|| {
        let text = format!(
            "{what} learned again {how} gives the same answer in {same:.2} of the rows held out, and by chance in {by_chance:.2}: its answers are the draw's in good part"
        );
        Caution::new(CautionKind::Unsteady, (1.0 - same) as f32, text)
    });
    let used = (matches!(again, Again::Rows(_)) && features < HALF).then(|| {
        let text = format!(
            "{what} learned again {how} shares {features:.2} of what it uses: others than these would do"
        );
        Caution::new(CautionKind::Unsteady, (1.0 - features) as f32, text)
    });
    Ok((named("stability", Unit::Ratio, &said)?, answers.into_iter().chain(used).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draw_has_as_many_of_each_class() {
        let labels = [0, 1, 1, 0, 1, 2, 1];
        let rows = drawn(&labels, 3, 0, Seed(4));
        let classes: Vec<usize> = rows.iter().map(|row| labels[*row]).collect();
        assert_eq!(classes, [0, 0, 1, 1, 1, 1, 2]);
        assert_ne!(rows, drawn(&labels, 3, 1, Seed(4)));
        // Over many draws every row comes as often as any other of its class.
        let mut often = [0; 7];
        (0..2000).flat_map(|draw| drawn(&labels, 3, draw, Seed(1))).for_each(|row| often[row] += 1);
        // Of 2000 draws each of so many rows comes 2000 times, with a deviation of 39 at most.
        assert!(often.iter().all(|count| (1800..2200).contains(count)), "{often:?}");
    }

    #[test]
    fn pairs_are_compared_by_hand() {
        let model = |said: [usize; 4], used: &[usize]| Model {
            said: said.to_vec(),
            used: used.iter().copied().collect(),
        };
        let models = [model([0, 0, 1, 1], &[1, 2]), model([0, 1, 1, 1], &[2, 3]), model([0, 0, 1, 1], &[])];
        let (table, cautions) = stability(&Again::Rows("it"), &models).unwrap();
        let [same, by_chance, features] = table.as_numbers().unwrap() else { panic!() };
        // 3/4, 1 and 3/4; 1/2 1/4 + 1/2 3/4 = 1/2 in every pair; 1/3, 0 and 0.
        assert!((same - 2.5 / 3.0).abs() < 1e-6 && (by_chance - 0.5).abs() < 1e-6, "{same} {by_chance}");
        assert!((features - 1.0 / 9.0).abs() < 1e-6, "{features}");
        // 5/6 - 1/2 of 1/2 is two thirds.
        let [used] = cautions.as_slice() else { panic!("{cautions:?}") };
        assert_eq!(used.kind, CautionKind::Unsteady);
        assert!((used.number - 8.0 / 9.0).abs() < 1e-6);
        assert!(stability(&Again::Candidates("it"), &models).unwrap().1.is_empty());
        let none = [model([0; 4], &[]), model([0; 4], &[])];
        let (table, cautions) = stability(&Again::Rows("it"), &none).unwrap();
        assert_eq!((table.as_numbers().unwrap(), cautions.is_empty()), ([1.0, 1.0, 1.0].as_slice(), true));
        // Right in half of what each says half of the time: no more than by chance.
        let loose = [model([0, 0, 1, 1], &[1]), model([0, 1, 0, 1], &[1])];
        let said = stability(&Again::Candidates("they"), &loose).unwrap().1;
        assert!(
            said[0]
                .text
                .starts_with("they learned again with other candidates gives the same answer in 0.50"),
            "{said:?}"
        );
    }
}
