use mmlens_core::finding::{Tolerance, largest};
use mmlens_testkit::Oracle;
use proptest::prelude::*;

use super::{Seed, ShapleyError, Shares, exact, kernel, permutation, permuted};
use crate::Coalition;

type Scores = Result<Vec<f32>, ShapleyError>;

const ROUNDING: Tolerance = Tolerance::either(2e-6, 2e-6);

fn number(coalition: &Coalition) -> usize {
    coalition.present().map(|player| 1 << player).sum()
}

/// A game given by the scores of all its coalitions.
fn table(scores: &[f32]) -> impl Fn(&[Coalition]) -> Scores + '_ {
    |some| Ok(some.iter().map(|coalition| scores[number(coalition)]).collect())
}

/// Scores that are no sum of what players bring alone.
fn rough(players: usize, seed: u64) -> Vec<f32> {
    let drawn = (0..1_u64 << players).map(|number| {
        let size = f64::from(number.count_ones()) / players as f64;
        (3.0 * size * size) as f32 + 2.0 * Seed(seed).at(number).unit()
    });
    drawn.collect()
}

#[test]
fn values_are_those_of_shap_and_of_the_sum_over_orders() {
    let oracle = Oracle::open("units/units").unwrap();
    for players in [2, 5, 6] {
        let scores = oracle.array(&format!("game/{players}")).unwrap().f32();
        let [shares, library] =
            ["shares", "kernel"].map(|of| oracle.array(&format!("{of}/{players}")).unwrap().f32());
        let all = exact(players, table(&scores)).unwrap();
        let least = kernel(players, 1 << players, Seed(0), table(&scores)).unwrap();
        ROUNDING.check("exact", &all.values, &shares).unwrap();
        ROUNDING.check("least squares", &least.values, &shares).unwrap();
        ROUNDING.check("shap", &least.values, &library).unwrap();
        assert_eq!((least.errors.clone(), least.scored), (vec![0.0; players], 1 << players));
        assert_eq!((all.none, all.all), (scores[0], scores[scores.len() - 1]));
    }
}

/// A game of what single players and pairs bring is exact from one order and its reverse on; of any other the errors say how far it may be off.
#[test]
fn orders_tend_to_the_values() {
    let pairs = |some: &[Coalition]| -> Scores {
        let of = |s: &Coalition| {
            s.present().map(|i| i as f32).sum::<f32>() + (s.has(0) && s.has(2)) as u8 as f32 * 3.0
        };
        Ok(some.iter().map(of).collect())
    };
    // Player i brings i; 0 and 2 share three.
    let found = permutation(4, 1, Seed(3), pairs).unwrap();
    ROUNDING.check("pairs", &found.values, &[1.5, 1.0, 3.5, 3.0]).unwrap();
    assert_eq!((found.scored, permuted(4, 1), found.errors), (8, 8, vec![0.0; 4]));
    let scores = rough(6, 4);
    let wanted = exact(6, table(&scores)).unwrap().values;
    let many = permutation(6, 4000, Seed(1), table(&scores)).unwrap();
    let some = permutation(6, 40, Seed(1), table(&scores)).unwrap();
    for found in [&many, &some] {
        for ((own, wanted), error) in found.values.iter().zip(&wanted).zip(&found.errors) {
            assert!((own - wanted).abs() < 4.0 * error && *error > 0.0, "{own} {wanted} {error}");
        }
        let sum: f32 = found.values.iter().sum();
        assert!((sum - (found.all - found.none)).abs() < 1e-4);
    }
    // A hundred times the orders, a tenth of the error.
    let ratio = largest(&some.errors).unwrap() / largest(&many.errors).unwrap();
    assert!((7.0..14.0).contains(&ratio), "{ratio}");
    assert_eq!(permutation(1, 3, Seed(0), table(&[2.0, 5.0])).unwrap().values, [3.0]);
    assert!(permutation(0, 3, Seed(0), table(&[2.0])).unwrap().values.is_empty());
}

#[test]
fn of_one_player_or_none_nothing_is_shared() {
    let found = kernel(1, 9, Seed(0), table(&[2.0, 5.0])).unwrap();
    assert_eq!(found, Shares { none: 2.0, all: 5.0, values: vec![3.0], errors: vec![0.0], scored: 2 });
    assert_eq!(exact(1, table(&[2.0, 5.0])).unwrap().values, [3.0]);
    assert!(kernel(0, 9, Seed(0), table(&[2.0])).unwrap().values.is_empty());
    assert!(exact(0, table(&[2.0])).unwrap().values.is_empty());
}

#[test]
fn what_cannot_be_told_is_refused() {
    let said = |found: Result<Shares, ShapleyError>| found.unwrap_err().to_string();
    let game = |some: &[Coalition]| -> Scores { Ok(some.iter().map(|s| s.size() as f32).collect()) };
    assert!(said(exact(21, game)).starts_with("21 players, of whom at most 20"));
    let few = said(kernel(12, 6, Seed(0), game));
    assert_eq!(
        few,
        "6 coalitions are too few to tell 12 players apart; take at least 48, or more where that fails"
    );
    let short = said(exact(2, |_| Ok(vec![0.0; 3])));
    assert_eq!(short, "3 scores for 4 coalitions");
    let broken = |some: &[Coalition]| -> Scores {
        Ok(some.iter().map(|s| if s.size() == 1 { f32::NAN } else { 0.0 }).collect())
    };
    assert_eq!(said(exact(2, broken)), "the score of {0} of 2 is NaN");
    assert_eq!(said(kernel(3, 99, Seed(0), broken)), "the score of {0} of 3 is NaN");
}

/// Over seeds, how far values are off in terms of their own errors: normal, if the errors are right. Of `n` squares of standard normal draws the
/// mean is 1; these are not independent, so that the bounds are wide. Errors half or double of what they should be give 4 or 0.25.
#[test]
fn values_are_within_their_errors() {
    let (players, seeds) = (10, 60);
    let scores = rough(players, 7);
    let wanted = exact(players, table(&scores)).unwrap();
    for samples in [80, 200, 500] {
        let (mut squares, mut beyond, mut off) = (0.0, 0, Vec::new());
        for seed in 0..seeds {
            let found = kernel(players, samples, Seed(seed), table(&scores)).unwrap();
            assert!(found.scored <= samples + 2 && found.scored + 2 > samples, "{}", found.scored);
            for ((value, error), wanted) in found.values.iter().zip(&found.errors).zip(&wanted.values) {
                let away = f64::from(value - wanted) / f64::from(*error);
                assert!(away.is_finite() && *error > 0.0, "{value} {error}");
                squares += away * away;
                beyond += usize::from(away.abs() > 3.0);
                off.push((value - wanted).abs());
            }
        }
        let n = (seeds as usize * players) as f64;
        let mean = squares / n;
        println!("{samples}: {mean} {beyond} {:?}", largest(&off));
        assert!((0.5..1.5).contains(&mean), "{samples} coalitions: mean square {mean}");
        assert!((beyond as f64) < 0.02 * n, "{samples} coalitions: {beyond} beyond three errors");
    }
}

#[test]
fn a_seed_decides_what_is_drawn() {
    let scores = rough(9, 1);
    let of = |seed| kernel(9, 60, Seed(seed), table(&scores)).unwrap();
    assert_eq!(of(4), of(4));
    assert_ne!(of(4).values, of(5).values);
}

fn sum(values: &[f32]) -> f32 {
    values.iter().sum()
}

/// Games of a few players, by their scores.
fn games(most: usize) -> impl Strategy<Value = (usize, Vec<f32>)> {
    (2..=most)
        .prop_flat_map(|n| prop::collection::vec(-4.0..4.0_f32, 1 << n).prop_map(move |scores| (n, scores)))
}

/// Both ways, the second by draws where there are more than a few players.
fn both(players: usize, game: impl Fn(&[Coalition]) -> Scores) -> [Shares; 2] {
    [exact(players, &game).unwrap(), kernel(players, 6 * players, Seed(3), &game).unwrap()]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Efficiency: the values add up to what all bring.
    #[test]
    fn nothing_is_lost((players, scores) in games(8)) {
        for found in both(players, table(&scores)) {
            let whole = scores[scores.len() - 1] - scores[0];
            prop_assert!((sum(&found.values) - whole).abs() < 1e-4, "{found:?} of {whole}");
        }
    }

    /// A dummy adds the same whoever is there, and is worth that. With draws the others' values are off, and so may its own be; its error says how far.
    #[test]
    fn a_dummy_is_worth_what_it_adds((players, scores) in games(7), adds in -3.0..3.0_f32) {
        let game = |some: &[Coalition]| -> Scores {
            Ok(some.iter().map(|s| scores[number(s) & ((1 << players) - 1)] + if s.has(players) { adds } else { 0.0 }).collect())
        };
        let [found, _] = both(players + 1, game);
        prop_assert!((found.values[players] - adds).abs() < 1e-4, "{found:?}");
        let all = kernel(players + 1, 2 << players, Seed(0), game).unwrap();
        prop_assert!((all.values[players] - adds).abs() < 1e-4, "{all:?}");
    }

    /// Players that may stand for one another are worth the same.
    #[test]
    fn alike_players_are_worth_the_same(by_size in prop::collection::vec(-4.0..4.0_f32, 8)) {
        let game = |some: &[Coalition]| -> Scores { Ok(some.iter().map(|s| by_size[s.size()]).collect()) };
        let found = exact(7, game).unwrap();
        let all = kernel(7, 1 << 7, Seed(0), game).unwrap();
        for value in found.values.iter().chain(&all.values) {
            prop_assert!((value - (by_size[7] - by_size[0]) / 7.0).abs() < 1e-4, "{found:?}");
        }
    }

    /// The values of a sum of games are the sums of their values, for the same draws too.
    #[test]
    fn values_are_linear((players, scores) in games(7), seed in 0..99_u64, by in -2.0..2.0_f32) {
        let other = rough(players, seed);
        let together: Vec<f32> = scores.iter().zip(&other).map(|(a, b)| a + by * b).collect();
        let [one, two, both] = [&scores, &other, &together].map(|scores| both(players, table(scores)));
        for ((one, two), both) in one.iter().zip(&two).zip(&both) {
            for ((a, b), c) in one.values.iter().zip(&two.values).zip(&both.values) {
                prop_assert!((a + by * b - c).abs() < 2e-4, "{a} + {by} {b}, {c}");
            }
        }
    }

    /// A game of what players bring alone is solved by any draws, and nothing is off.
    #[test]
    fn what_adds_up_is_found_by_any_draws(own in prop::collection::vec(-4.0..4.0_f32, 12), seed in 0..99_u64) {
        let game = |some: &[Coalition]| -> Scores {
            Ok(some.iter().map(|s| s.present().map(|player| own[player]).sum()).collect())
        };
        let found = kernel(12, 90, Seed(seed), game).unwrap();
        for ((value, error), own) in found.values.iter().zip(&found.errors).zip(&own) {
            prop_assert!((value - own).abs() < 1e-4 && *error < 1e-4, "{value} {error} {own}");
        }
    }
}
