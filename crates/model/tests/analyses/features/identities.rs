//! What must hold of the methods of features, whatever the numbers.

use mmlens_core::finding::{Finding, Tolerance};
use mmlens_core::{
    Alteration, Altered, Analysis, Case, Examples, Fit, ManyCases, Objective, Plan, Region, Sample, Seed,
    Subject, Unwatched, Words, from_fn, held_out,
};
use mmlens_engine::{Indices, Matrix, WordList, direction, dot, normal};
use mmlens_model::modality_gap::{self, ModalityGap};
use mmlens_model::project_away::{self, ProjectAway};
use mmlens_model::{
    EmbeddingParts, Inlp, LinearProbe, SparseAutoencoder, Splice, TextSpan, embedding_parts, inlp,
    linear_probe, sparse_autoencoder, splice, text_span,
};
use mmlens_testkit::Toy;
use proptest::prelude::*;

use crate::identities::few;
use crate::support::{about, numbers, opened, painted, pairs, scalar, site};

const LIST: [&str; 8] =
    ["red", "a dog", "ring", "two cats", "a photo of a red circle", "blue", "star", "a small square"];

fn paintings(count: usize, from: u32) -> ManyCases {
    let words = || Words::Texts(vec!["ring".to_owned()]);
    let case = move |i: usize| Ok(Case::new(Sample::new(vec![painted(from + i as u32)], words())));
    ManyCases::over(from_fn("paintings", count, case)).unwrap()
}

/// `x - 2 (x . d) d`: an orthogonal map.
fn turned(row: &[f64], d: &[f64]) -> Vec<f64> {
    let along = 2.0 * dot(row, d);
    row.iter().zip(d).map(|(x, d)| x - along * d).collect()
}

/// Rows of two classes that differ along a direction, in groups of two.
fn classed(seed: u64, (count, width): (usize, usize), change: &dyn Fn(Vec<f64>) -> Vec<f64>) -> Examples {
    let along = direction(width, Seed(seed).at(1 << 40));
    let row = |i: usize| {
        let sign = if i.is_multiple_of(2) { 1.5 } else { -1.5 };
        let draws = Seed(seed).at(i as u64);
        change(along.iter().enumerate().map(|(at, d)| normal(draws.at(at as u64)) + sign * d).collect())
    };
    let values = (0..count).flat_map(row).map(|x| x as f32).collect();
    let rows = Examples::new(
        "classed",
        values,
        vec!["up".into(), "down".into()],
        (0..count).map(|i| i % 2).collect(),
    );
    rows.unwrap().grouped((0..count as u64).map(|i| i / 2).collect()).unwrap()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|x| f64::from(*x)).collect()
}

/// What a site holds, as rows in double precision.
fn rows_of(subject: &dyn Subject, sample: &Sample, place: &str) -> Matrix {
    let inputs = subject.encode(sample).unwrap();
    let trace = subject.run(&inputs, Plan::new().read(place).unwrap()).unwrap();
    let value = trace.get(site(place)).unwrap();
    Matrix::of_floats(&value.to_values().unwrap(), *value.dims().last().unwrap()).unwrap()
}

proptest! {
    #![proptest_config(few())]

    /// Terms add up to the cosine; against the others they add up to the difference of cosines; captions in another order are the same, in that order.
    #[test]
    fn parts_add_up_whatever_is_shown(picture in 0..999_u32, first in 0..8_usize, step in 1..8_usize) {
        let texts = [LIST[first].to_owned(), LIST[(first + step) % 8].to_owned()];
        let of = |texts: Vec<String>| {
            let case = Case::new(Sample::new(vec![painted(picture)], Words::Texts(texts)));
            EmbeddingParts::new(embedding_parts::Settings::default()).unwrap().run(opened("clip-a"), &case).unwrap()
        };
        let [a, b] = texts;
        let (found, turned) = (of(vec![a.clone(), b.clone()]), of(vec![b, a]));
        let table = |found: &Finding, name: &str| wide(numbers(found, name));
        let cosine = table(&found, "cosine");
        for caption in 0..2 {
            let sum = |name: &str| {
                let all = table(&found, name);
                let each = all.len() / 2;
                all[caption * each..(caption + 1) * each].iter().sum::<f64>()
            };
            let whole = sum("layers") + sum("outside the layers");
            prop_assert!((whole - cosine[caption]).abs() < 2e-6, "{whole} {}", cosine[caption]);
            // Of two captions each is compared with the other.
            prop_assert!((sum("heads against the others") - (2.0 * sum("heads") - table(&found, "heads").iter().sum::<f64>())).abs() < 2e-6);
        }
        for name in ["heads", "heads against the others", "patches", "cosine"] {
            let (own, other) = (table(&found, name), table(&turned, name));
            let (first, second) = own.split_at(own.len() / 2);
            // A batch of captions in another order is rounded alike, row by row.
            Tolerance::absolute(1e-6).check(name, &other, &[second, first].concat()).unwrap();
        }
    }

    /// Of a list in another order the same texts are picked; each explains more, and no more than as many principal components.
    #[test]
    fn the_order_of_a_list_decides_nothing(from in 0..999_u32, turn in 1..8_usize) {
        let of = |list: Vec<&str>| {
            let settings = text_span::Settings {
                texts: WordList::Here(list.into_iter().map(str::to_owned).collect()),
                count: 3,
                draws: 1,
                layers: Indices::At(vec![1, 2]),
                ..text_span::Settings::default()
            };
            TextSpan::new(settings).unwrap().run(opened("clip-a"), &paintings(9, from)).unwrap()
        };
        let turned: Vec<&str> = LIST.iter().copied().cycle().skip(turn).take(8).collect();
        let (found, other) = (of(LIST.to_vec()), of(turned));
        prop_assert_eq!(found.table("texts").unwrap().as_texts(), other.table("texts").unwrap().as_texts());
        for name in ["variance explained", "principal components", "variance"] {
            // Vectors of texts are rounded alike in any batch; sums over pictures are the same.
            Tolerance::absolute(1e-6).check(name, numbers(&other, name), &wide(numbers(&found, name))).unwrap();
        }
        let components = numbers(&found, "principal components").chunks(3);
        for (own, best) in numbers(&found, "variance explained").chunks(3).zip(components) {
            prop_assert!(own.windows(2).all(|pair| pair[0] <= pair[1] + 1e-6), "{own:?}");
            prop_assert!(own.iter().zip(best).all(|(own, best)| *own <= best + 1e-6), "{own:?} {best:?}");
        }
    }

    /// No row has more than `k` features, no direction another length than one, and what is told of held-out rows is what the dictionary misses of them.
    #[test]
    fn a_dictionary_is_as_it_is_told(seed in 0..999_u64, k in 1..4_usize) {
        let rows = classed(seed, (80, 6), &|row| row);
        let settings = sparse_autoencoder::Settings {
            features: Some(12), k, passes: 3, batch: 16, held_out: 0.25, ..Default::default()
        };
        let found = SparseAutoencoder::new(settings).unwrap().fit(&rows, Seed(seed), &Unwatched).unwrap();
        let own = found.fitted.dictionary().weights().clone();
        let decoder = Matrix::of_floats(&own.decoder, 6).unwrap();
        prop_assert!(decoder.rows().all(|row| (dot(row, row) - 1.0).abs() < 1e-5));
        let out = held_out(rows.groups(), 0.25, Seed(seed).at(0)).unwrap();
        let kept: Vec<Vec<f64>> = rows.rows().zip(&out).filter(|(_, out)| !**out).map(|(row, _)| wide(row)).collect();
        let mean: Vec<f64> = (0..6).map(|at| kept.iter().map(|row| row[at]).sum::<f64>() / kept.len() as f64).collect();
        let bias = wide(&own.decoder_bias);
        let (mut missed, mut whole) = (0.0, 0.0);
        for (row, _) in rows.rows().zip(&out).filter(|(_, out)| **out) {
            let x: Vec<f64> = wide(row);
            let pre = |of: usize| -> f64 {
                let sum: f64 = (0..6).map(|at| (x[at] - bias[at]) * f64::from(own.encoder[at * 12 + of])).sum();
                (sum + f64::from(own.encoder_bias[of])).max(0.0) // no NaN: finite rows
            };
            let mut all: Vec<(usize, f64)> = (0..12).map(|of| (of, pre(of))).collect();
            all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            let mut made = bias.clone();
            for (of, much) in all.into_iter().take(k) {
                made.iter_mut().zip(decoder.row(of)).for_each(|(sum, d)| *sum += much * d);
            }
            missed += x.iter().zip(&made).map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
            whole += x.iter().zip(&mean).map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
        }
        let told = f64::from(numbers(&found.finding, "unexplained variance")[0]);
        // The dictionary works in single precision.
        prop_assert!((told - missed / whole).abs() < 1e-4, "{told} {}", missed / whole);
        prop_assert!(f64::from(numbers(&found.finding, "active features")[0]) <= k as f64);
    }

    /// Rows that an orthogonal map has turned lose the directions that it turns theirs into, and probes are as right.
    #[test]
    fn an_orthogonal_map_turns_what_is_taken_off(seed in 0..999_u64) {
        let d = direction(8, Seed(seed).at(1 << 41));
        let settings = || inlp::Settings { rounds: 2, draws: 1, held_out: 0.25, ..inlp::Settings::default() };
        let found = |rows: &Examples| Inlp::new(settings()).unwrap().fit(rows, Seed(seed), &Unwatched);
        let (straight, round) = (
            found(&classed(seed, (120, 8), &|row| row)).unwrap(),
            found(&classed(seed, (120, 8), &|row| turned(&row, &d))).unwrap(),
        );
        let directions = |of: &inlp::Erasure| Analysis::settings(of).directions.clone();
        let (own, other) = (directions(&straight.fitted), directions(&round.fitted));
        prop_assert_eq!(own.len(), other.len());
        for (at, a) in own.iter().enumerate() {
            for (to, b) in own.iter().enumerate() {
                let wanted = f64::from(u8::from(at == to));
                prop_assert!((dot(a, b) - wanted).abs() < 1e-9);
            }
            // Rows are rounded to single precision once they are turned, and the search ends at a gradient of 1e-8.
            let same = dot(&turned(a, &d), &other[at]).abs();
            prop_assert!((same - 1.0).abs() < 1e-4, "{same}");
        }
        prop_assert_eq!(numbers(&straight.finding, "accuracy"), numbers(&round.finding, "accuracy"));
    }

    /// How far tokens point along a word does not depend on how much is taken off, and the share that is goes with its square; nothing changes nothing.
    #[test]
    fn what_is_taken_off_goes_with_the_weight(seed in 0..99_u64, picture in 0..99_u32, weight in 0.1..3.0_f64) {
        let toy = Toy::curved(seed);
        let case = about(Sample::prompt(vec![painted(picture)], "#abc"), Objective::logit(3));
        let of = |weight: f64| {
            let settings = project_away::Settings {
                phrase: "ab".to_owned(),
                site: site("text.blocks.1.resid_post"),
                weight,
                draws: 2,
                ..project_away::Settings::default()
            };
            ProjectAway::new(settings).unwrap().run(&toy, &case).unwrap()
        };
        let (none, one, own) = (of(0.0), of(1.0), of(weight));
        prop_assert_eq!(numbers(&one, "along"), numbers(&own, "along"));
        prop_assert_eq!(numbers(&none, "change"), [0.0, 0.0]);
        let shares: Vec<f64> = wide(numbers(&one, "taken off")).into_iter().map(|x| x * weight * weight).collect();
        Tolerance::either(1e-7, 1e-5).check("taken off", numbers(&own, "taken off"), &shares).unwrap();
        prop_assert!((scalar(&one, "objective") - scalar(&own, "objective")).abs() < 1e-6);
    }

    /// Rows of twice the size, and a penalty of a quarter of the strength: to the last bit the same probabilities. Classes that are exchanged exchange them.
    #[test]
    fn units_of_rows_change_no_probability(seed in 0..999_u64, power in -3..4_i32) {
        let scale = f64::from(power).exp2();
        let probe = |rows: &Examples, c: f64| {
            let settings = linear_probe::Settings { c, ..linear_probe::Settings::default() };
            LinearProbe::new(settings).unwrap().fit(rows, Seed(seed), &Unwatched).unwrap()
        };
        let rows = classed(seed, (60, 5), &|row| row);
        let larger = classed(seed, (60, 5), &|row| row.into_iter().map(|x| x * scale).collect());
        let (own, other) = (probe(&rows, 1.0), probe(&larger, 1.0 / (scale * scale)));
        prop_assert_eq!(numbers(&own.finding, "scores"), numbers(&other.finding, "scores"));
        let labels = rows.labels().iter().map(|label| 1 - label).collect();
        let exchanged = Examples::new("exchanged", rows.rows().flatten().copied().collect(), rows.classes().to_vec(), labels);
        let exchanged = probe(&exchanged.unwrap().grouped(rows.groups().to_vec()).unwrap(), 1.0);
        for (row, large) in rows.rows().zip(larger.rows()) {
            let [up, down] = own.fitted.log_probabilities(row).unwrap()[..] else { panic!() };
            // Both searches end at a gradient of 1e-8, in units that differ.
            Tolerance::absolute(1e-5).check("units", &other.fitted.log_probabilities(large).unwrap(), &[up, down]).unwrap();
            Tolerance::absolute(1e-5).check("classes", &exchanged.fitted.log_probabilities(row).unwrap(), &[down, up]).unwrap();
        }
    }

    /// Pictures and words that an orthogonal map has turned lie as far apart, in as narrow cones, and are told apart as well.
    #[test]
    fn an_orthogonal_map_changes_neither_gap_nor_cone(seed in 0..999_u64) {
        let clip = opened("clip-a");
        let settings = || modality_gap::Settings { draws: 3, ..modality_gap::Settings::default() };
        let found = |subject: &dyn Subject| ModalityGap::new(settings()).unwrap().run(subject, &pairs()).unwrap();
        let straight = found(clip);
        let d = direction(numbers(&straight, "gap by dimension").len(), Seed(seed));
        let edit = |place: &str| {
            let d = d.clone();
            Alteration::named(place, Region::all(), "turned", move |x| {
                let values = x.to_values()?.chunks(d.len()).flat_map(|row| turned(&wide(row), &d)).map(|x| x as f32).collect();
                x.filled(values)
            })
            .unwrap()
        };
        let round = found(&Altered::new(clip, [edit("vision.projected"), edit("text.projected")]).unwrap());
        for name in ["gap", "p", "cone", "separability", "shifted", "lengths"] {
            // Vectors are rounded to single precision once they are turned.
            Tolerance::either(1e-5, 1e-5).check(name, numbers(&round, name), &wide(numbers(&straight, name))).unwrap();
        }
        // But another dimension has it.
        let apart = |found: &Finding| wide(numbers(found, "gap by dimension"));
        Tolerance::absolute(1e-5).check("gap", &apart(&round), &turned(&apart(&straight), &d)).unwrap();
    }

    /// Pictures that are the texts of the dictionary, each another: of each its own text is the code, with the weight that the penalty leaves, `1 - l1 / 2`, and no other text.
    #[test]
    fn a_picture_that_is_a_text_is_that_text(from in 0..99_u32, turn in 0..8_usize, l1 in 0.02..1.0_f64) {
        let clip = opened("clip-a");
        let data = paintings(8, from);
        let own: Vec<Vec<f64>> = (0..8)
            .map(|case| rows_of(clip, &data.data().case(case).unwrap().sample, "vision.projected").row(0).to_vec())
            .collect();
        let list = LIST.map(str::to_owned).to_vec();
        let texts = rows_of(clip, &Sample::new(vec![painted(0)], Words::Texts(list.clone())), "text.projected");
        let becomes: Vec<Vec<f64>> = texts.rows().map(<[f64]>::to_vec).collect();
        let edit = Alteration::named("vision.projected", Region::all(), "texts", move |x| {
            let values = wide(&x.to_values()?);
            let far = |row: &Vec<f64>| row.iter().zip(&values).map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
            // no NaN: finite rows
            let nearest = (0..8).min_by(|a, b| far(&own[*a]).total_cmp(&far(&own[*b]))).unwrap();
            x.filled(becomes[(nearest + turn) % 8].iter().map(|x| *x as f32).collect())
        });
        let settings = splice::Settings { texts: WordList::Here(list), l1, path: Vec::new(), top: 2, ..splice::Settings::default() };
        let found = Splice::new(settings).unwrap().run(&Altered::new(clip, [edit.unwrap()]).unwrap(), &data).unwrap();
        let named = found.table("concepts").unwrap().as_texts().unwrap();
        for (case, (text, weights)) in named.chunks(2).zip(numbers(&found, "weights").chunks(2)).enumerate() {
            prop_assert_eq!(text[0].as_str(), LIST[(case + turn) % 8]);
            // The texts' vectors were made in another batch, in single precision.
            prop_assert!((f64::from(weights[0]) - (1.0 - l1 / 2.0)).abs() < 1e-4 && weights[1].abs() < 1e-4, "{:?}", weights);
        }
    }
}

/// The map that the tests above turn rows by keeps lengths, and is its own inverse: they would see one that does not.
#[test]
fn a_reflection_is_orthogonal() {
    let d = direction(5, Seed(3));
    let row = [1.0, -2.0, 0.5, 3.0, 0.25];
    let there = turned(&row, &d);
    assert!((dot(&there, &there) - dot(&row, &row)).abs() < 1e-12 && (there[0] - row[0]).abs() > 1e-3);
    assert!(turned(&there, &d).iter().zip(row).all(|(a, b)| (a - b).abs() < 1e-12));
}
