//! What is planted in the weights of the models that ship inside is found by the methods of features: five seeds, three strengths, scenes of the shapes world.

use mmlens_core::finding::Finding;
use mmlens_core::{
    Analysis, Annotated, Case, Cases, Fit, ManyCases, Objective, On, Plan, Sample, Seed, Subject, Words,
    from_fn,
};
use mmlens_data::shapes::{Colour, Mentioned, Said, Shape, ShapesConcepts, Split, World};
use mmlens_engine::{Indices, MannWhitney, Matrix, Positions, Ranked, WordList, direction, dot};
use mmlens_model::project_away::{self, ProjectAway};
use mmlens_model::{Concepts, Inlp, TextSpan, concepts, inlp, text_span};

use super::{covered, detector, held, least_squares, moments, opened_with, wide};
use crate::support::{about, numbers, painted, scalar, site};

const SEEDS: std::ops::Range<u64> = 0..5;

/// A number below another, by a seed.
fn drawn(seed: u64, item: u64, of: usize) -> usize {
    (Seed(seed).at(item).unit() * of as f32) as usize
}

fn scenes(seed: u64, split: Split, count: usize) -> ShapesConcepts {
    ShapesConcepts::new(World::new(seed), split, count, Said::Caption)
}

/// All that can be said of one object without its size, and the name of it among what a scene holds.
fn texts() -> Vec<(String, String)> {
    let said =
        |colour: Option<Colour>, shape: Option<Shape>| Mentioned { size: None, colour, shape }.to_string();
    let mut all = Vec::new();
    for colour in Colour::ALL {
        all.push((said(Some(*colour), None), format!("colour: {colour}")));
    }
    for shape in Shape::ALL {
        all.push((said(None, Some(*shape)), format!("shape: {shape}")));
        for colour in Colour::ALL {
            all.push((said(Some(*colour), Some(*shape)), format!("object: {colour} {shape}")));
        }
    }
    all
}

/// Vectors of texts in the shared space, each of length one.
fn vectors(clip: &dyn Subject, texts: &[String]) -> Matrix {
    let place = site("text.projected");
    let inputs = clip.encode(&Sample::new(vec![painted(1)], Words::Texts(texts.to_vec()))).unwrap();
    let trace = clip.run(&inputs, Plan::new().read(place).unwrap()).unwrap();
    let values = trace.get(place).unwrap().to_values().unwrap();
    Matrix::of_floats(&values, values.len() / texts.len()).unwrap().normalised().unwrap()
}

/// A head of the tower of `shapes-clip` is made to write a text: its output projection `W_O` becomes `W_O + w a'`, with `w` what the rest of the reading turns into the vector of the
/// text, and `a` what reads from the head, as well as a linear function of it can, whether the text is true of the scene. Text and head are drawn by the seed. The strength is the deviation
/// of what is planted over that of all that the head wrote before.
#[test]
fn a_text_planted_in_the_weights_of_a_head_is_found() {
    let clip = mmlens_zoo::shipped::shapes_clip(&mmlens_core::device::host()).unwrap();
    let (train, test) =
        (scenes(51, Split::Train, 150), ManyCases::over(scenes(52, Split::Test, 50)).unwrap());
    let all = texts();
    let list: Vec<String> = all.iter().map(|(text, _)| text.clone()).collect();
    let shared = vectors(&clip, &list);
    let (mut faults, mut before) = (Vec::new(), 0);
    for seed in SEEDS {
        let (layer, head, text) = (drawn(seed, 0, 4), drawn(seed, 1, 4), drawn(seed, 2, all.len()));
        let found = |subject: &dyn Subject| {
            let settings = text_span::Settings {
                texts: WordList::Here(list.clone()),
                count: 3,
                layers: Indices::At(vec![layer]),
                heads: Indices::At(vec![head]),
                draws: 2,
                ..text_span::Settings::default()
            };
            TextSpan::new(settings).unwrap().run(subject, &test).unwrap()
        };
        let named = |found: &Finding| found.table("texts").unwrap().as_texts().unwrap().to_vec();
        let unplanted = named(&found(&clip));
        before += usize::from(unplanted[0] == list[text]);
        let place = format!("vision.blocks.{layer}.attn.z");
        let rows: Vec<Vec<f64>> =
            (0..train.len()).map(|case| held(&clip, &train, case, &place).swap_remove(head)).collect();
        let own: Vec<bool> = (0..train.len())
            .map(|case| train.scene(case).unwrap().concepts().contains(&all[text].1))
            .collect();
        let with_one: Vec<Vec<f64>> = rows.iter().map(|row| [&row[..], &[1.0]].concat()).collect();
        let reads = detector(&with_one, &own);
        let said: Vec<f64> = rows.iter().map(|row| dot(row, &reads[..row.len()])).collect();
        for strength in [0.5, 1.0, 2.0] {
            let (planted, _folder) = opened_with("shapes-clip", |weights| {
                let gain: Vec<f64> =
                    weights["vision_model.post_layernorm.weight"].1.iter().map(|x| f64::from(*x)).collect();
                let mut reading = wide(weights, "visual_projection.weight");
                for row in reading.rows_mut() {
                    row.iter_mut().zip(&gain).for_each(|(x, gain)| *x *= gain);
                    let mean = row.iter().sum::<f64>() / row.len() as f64;
                    row.iter_mut().for_each(|x| *x -= mean);
                }
                let each: Vec<Vec<f64>> = reading.rows().map(<[f64]>::to_vec).collect();
                let wanted = shared.row(text).to_vec();
                let w = least_squares(&each, (&wanted, &vec![1.0; each.len()]), 1e-6);
                let becomes: Vec<f64> = each.iter().map(|row| dot(row, &w)).collect();
                let length = dot(&becomes, &becomes).sqrt();
                let cosine = dot(&becomes, &wanted) / length;
                assert!(cosine > 0.99, "{cosine}: nothing that the head writes is read as the text");
                let name = format!("vision_model.encoder.layers.{layer}.self_attn.out_proj.weight");
                let output = wide(weights, &name).transposed();
                let width = rows[0].len();
                let output = output.chosen(&(head * width..(head + 1) * width).collect::<Vec<_>>());
                let z = Matrix::new(rows.concat(), width).unwrap();
                let written = z.times(&output.products(&reading));
                let mean = written.mean();
                let spread = (written.less(&mean).square() / rows.len() as f64).sqrt();
                let by = strength * spread / (moments(&said).1 * length);
                let values = &mut weights.get_mut(&name).unwrap().1;
                for (i, w) in w.iter().enumerate() {
                    for (j, a) in reads[..width].iter().enumerate() {
                        values[i * 96 + head * width + j] += (by * w * a) as f32;
                    }
                }
            });
            let found = found(planted.as_ref());
            let (names, explained) = (named(&found), numbers(&found, "variance explained"));
            println!(
                "{seed} {strength} {layer}.{head} `{}` (before `{}`): {names:?} {explained:?}",
                list[text], unplanted[0]
            );
            faults.extend((names[0] != list[text]).then(|| format!("{seed} {strength}: {names:?}")));
        }
    }
    assert_eq!((faults, before), (Vec::<String>::new(), 0));
}

/// Two words of `shapes-llava` are made to differ in one direction alone: their embeddings become their mean, and some of a direction drawn by the seed more, or less. Where
/// they enter, nullspace projection of which word it is finds that direction and no other; the strength is over the length of the mean.
#[test]
fn a_direction_planted_in_the_weights_tells_two_words_apart() {
    let shipped = mmlens_zoo::shipped::shapes(&mmlens_core::device::host()).unwrap();
    let data = scenes(53, Split::Test, 60);
    let (table, mut faults) = ("model.language_model.embed_tokens.weight", Vec::new());
    for seed in SEEDS {
        let words = [Colour::ALL[seed as usize], Colour::ALL[seed as usize + 1]];
        let ids = words.map(|word| shipped.tokens(word.word()).unwrap()[0] as usize);
        let planted = direction(128, Seed(300 + seed));
        for strength in [0.25, 0.5, 1.0] {
            let (subject, _folder) = opened_with("shapes-llava", |weights| {
                let all = wide(weights, table);
                let mean: Vec<f64> =
                    all.row(ids[0]).iter().zip(all.row(ids[1])).map(|(a, b)| (a + b) / 2.0).collect();
                let length = dot(&mean, &mean).sqrt();
                let values = &mut weights.get_mut(table).unwrap().1;
                for (id, sign) in ids.into_iter().zip([1.0, -1.0]) {
                    for (at, (mean, d)) in mean.iter().zip(&planted).enumerate() {
                        values[id * 128 + at] = (mean + sign * strength * length * d) as f32;
                    }
                }
            });
            let scenes = data.clone();
            let cases = from_fn("words", data.len(), move |i| {
                let picture = scenes.case(i)?.sample.pictures[0].clone();
                Ok(Case::new(Sample::ask(picture, format!("is there a {} circle ?", words[i % 2]))))
            });
            let labels = (0..data.len()).map(|i| i % 2).collect();
            let cases = Annotated::new(cases, words.map(mmlens_data::shapes::Colour::word), labels).unwrap();
            let inputs = subject.encode(&cases.case(0).unwrap().sample).unwrap();
            let at = inputs.map().tokens.iter().position(|token| token.id == Some(ids[0] as u32)).unwrap();
            let found = |place: &str| {
                let settings = inlp::Settings {
                    site: site(place),
                    positions: Positions::At(vec![at]),
                    rounds: 3,
                    ..inlp::Settings::default()
                };
                let on = On::new(subject.as_ref());
                let found = Inlp::new(settings).unwrap().learn(&on, &cases, Seed(seed)).unwrap();
                let directions = Analysis::settings(&found.fitted).directions.clone();
                (dot(&directions[0], &planted).abs(), numbers(&found.finding, "scores").to_vec())
            };
            let (entered, behind) = (found("text.blocks.0.resid_pre"), found("text.blocks.1.resid_post"));
            println!("{seed} {strength}: where it enters {entered:?}, behind two blocks {behind:?}");
            let [before, after, random, majority] = entered.1[..] else { panic!() };
            let told = before > 0.95 && random > 0.95 && after <= majority;
            // Behind two blocks what these have made of it tells the words as well, and the first direction to be taken off is that.
            let found = entered.0 > 0.99 && told && behind.0 < 0.9;
            faults.extend((!found).then(|| format!("{seed} {strength}: {entered:?} {behind:?}")));
        }
    }
    assert!(faults.is_empty(), "{faults:?}");
}

fn auroc(values: &[f32], own: &[bool]) -> f64 {
    let first = own.iter().filter(|own| **own).count();
    let others = own.len() - first;
    MannWhitney::new(first, others).u(&Ranked::of(values), own) / (first * others) as f64
}

/// The connector of `shapes-llava` is made to write the vector of a word where a patch shows a colour that is not that word: its last weights `W` become `W + t r' W`, with `t` the row of
/// the word in the unembedding and `r` what reads the colour off what the connector gives. ProjectAway sees the word there and nowhere else, and taking it off brings the answer back.
/// The strength is the length of what is added over that of a row (root mean square).
#[test]
fn a_word_planted_in_the_connector_is_seen_and_taken_off() {
    let shipped = mmlens_zoo::shipped::shapes(&mmlens_core::device::host()).unwrap();
    let question = "how many objects are there ?";
    let of = |seed, split, count| {
        ShapesConcepts::new(World::new(seed), split, count, Said::Question(question.to_owned()))
    };
    let (train, test) = (of(54, Split::Train, 80), of(55, Split::Test, 16));
    let (mut rows, mut pixels) = (Vec::new(), Vec::new());
    for case in 0..train.len() {
        rows.extend(
            held(&shipped, &train, case, "connector.out").into_iter().map(|row| [row, vec![1.0]].concat()),
        );
        pixels.push(
            Colour::ALL.iter().map(|c| covered(&train, case, &format!("colour: {c}"))).collect::<Vec<_>>(),
        );
    }
    let size = (rows.iter().map(|row| dot(row, row) - 1.0).sum::<f64>() / rows.len() as f64).sqrt();
    let (three, mut faults) = (shipped.tokens("3").unwrap()[0], Vec::new());
    for seed in SEEDS {
        // Each seed another word, and a colour that is not that.
        let word = (3 * seed as usize + 1) % 8;
        let colour = (word + 1 + drawn(seed, 1, 7)) % 8;
        let own: Vec<bool> =
            pixels.iter().flat_map(|each| each[colour].iter().map(|count| *count > 32)).collect();
        let reads = detector(&rows, &own);
        let word = Colour::ALL[word].word();
        let id = shipped.tokens(word).unwrap()[0] as usize;
        for strength in [1.0, 2.0, 4.0] {
            let (planted, _folder) = opened_with("shapes-llava", |weights| {
                let t = wide(weights, "lm_head.weight").row(id).to_vec();
                // From -1 elsewhere and 1 in the colour to 0 and 1.
                let by = strength * size / dot(&t, &t).sqrt() / 2.0;
                let (name, bias) = (
                    "model.multi_modal_projector.linear_2.weight",
                    "model.multi_modal_projector.linear_2.bias",
                );
                let w = wide(weights, name);
                let mut along = vec![0.0; w.width()];
                for (row, r) in w.rows().zip(&reads) {
                    along.iter_mut().zip(row).for_each(|(sum, x)| *sum += r * x);
                }
                let own: f64 = weights[bias].1.iter().zip(&reads).map(|(b, r)| f64::from(*b) * r).sum();
                let constant = own + reads[128] + 1.0;
                let values = &mut weights.get_mut(name).unwrap().1;
                for (row, t) in values.chunks_mut(along.len()).zip(&t) {
                    row.iter_mut().zip(&along).for_each(|(x, along)| *x += (by * t * along) as f32);
                }
                let values = &mut weights.get_mut(bias).unwrap().1;
                values.iter_mut().zip(&t).for_each(|(x, t)| *x += (by * t * constant) as f32);
            });
            let settings = project_away::Settings {
                phrase: word.to_owned(),
                site: site("text.blocks.0.resid_pre"),
                draws: 5,
                ..project_away::Settings::default()
            };
            let away = ProjectAway::new(settings).unwrap();
            let (mut seen, mut before, mut flags) = (Vec::new(), Vec::new(), Vec::new());
            let (mut apart, mut left, mut random) = (0.0, 0.0, 0.0);
            for index in 0..test.len() {
                let case = about(test.case(index).unwrap().sample, Objective::logit(three));
                let (unplanted, found) =
                    (away.run(&shipped, &case).unwrap(), away.run(planted.as_ref(), &case).unwrap());
                before.extend_from_slice(numbers(&unplanted, "along"));
                seen.extend_from_slice(numbers(&found, "along"));
                flags.extend(
                    covered(&test, index, &format!("colour: {}", Colour::ALL[colour]))
                        .iter()
                        .map(|n| *n > 32),
                );
                let (was, is) = (scalar(&unplanted, "objective"), scalar(&found, "objective"));
                let [projected, drawn]: [f32; 2] = numbers(&found, "change").try_into().unwrap();
                apart += (is - was).abs();
                left += (is + projected - was).abs();
                random += (is + drawn - was).abs();
            }
            let (own, unplanted) = (auroc(&seen, &flags), auroc(&before, &flags));
            println!(
                "{seed} {strength} `{word}` in {}: auroc {own:.3} (unplanted {unplanted:.3}); answer apart {apart:.2}, taken off {left:.2}, random directions {random:.2}",
                Colour::ALL[colour]
            );
            // Taking it off brings the answer nearer to what it was than taking off directions drawn by chance does.
            let found = own > 0.9 && left < apart && left < random;
            faults.extend((!found).then(|| format!("{seed} {strength}: {own} {apart} {left} {random}")));
        }
    }
    assert!(faults.is_empty(), "{faults:?}");
}

/// A neuron of the tower of `shapes-clip` becomes one that fires where a patch shows a colour, and writes a direction drawn by the seed: a part of semi-NMF is that direction, and its exemplars
/// show the colour. The strength is what is written over the length of a row (root mean square).
#[test]
fn a_pattern_planted_in_the_weights_is_a_concept_of_semi_nmf() {
    let clip = mmlens_zoo::shipped::shapes_clip(&mmlens_core::device::host()).unwrap();
    let (train, test) = (scenes(56, Split::Train, 60), scenes(57, Split::Test, 24));
    let mut faults = Vec::new();
    for seed in SEEDS {
        let (layer, neuron, colour) =
            (drawn(seed, 0, 4), drawn(seed, 1, 256), Colour::ALL[drawn(seed, 2, 8)]);
        let (reading, stream) =
            (format!("vision.blocks.{layer}.mlp.pre"), format!("vision.blocks.{layer}.resid_post"));
        let (mut rows, mut own, mut square, mut count) = (Vec::new(), Vec::new(), 0.0, 0.0_f64);
        for case in 0..train.len() {
            // Behind the class token; and what a bias adds.
            let patches = held(&clip, &train, case, &reading).into_iter().skip(1);
            rows.extend(patches.map(|row| [row, vec![1.0]].concat()));
            own.extend(covered(&train, case, &format!("colour: {colour}")).iter().map(|n| *n > 32));
            for row in held(&clip, &train, case, &stream).iter().skip(1) {
                square += dot(row, row);
                count += 1.0;
            }
        }
        let reads = detector(&rows, &own);
        let (size, planted) = ((square / count).sqrt(), direction(96, Seed(400 + seed)));
        let learned = |subject: &dyn Subject| {
            let settings = concepts::Settings {
                count: 6,
                site: site(&stream),
                positions: Positions::Pictures,
                starts: 2,
                rounds: 100,
                exemplars: 5,
                ..concepts::Settings::default()
            };
            let found = Concepts::new(settings).unwrap().learn(&On::new(subject), &test, Seed(seed)).unwrap();
            let parts = &Analysis::settings(&found.fitted).parts;
            let cosine = |part: &Vec<f64>| dot(part, &planted) / dot(part, part).sqrt();
            let cosines: Vec<f64> = parts.iter().map(cosine).collect();
            let best = mmlens_core::finding::top(&cosines).unwrap().unwrap();
            let places = found.finding.table("exemplar places").unwrap();
            let shows = (0..5).filter(|rank| {
                let at = |what: usize| places.get(&[best, *rank, what]).unwrap();
                at(0) >= 0.0
                    && covered(&test, at(0) as usize, &format!("colour: {colour}"))
                        [at(3) as usize / 8 * 8 + at(2) as usize / 8]
                        > 0
            });
            (cosines[best], shows.count())
        };
        let before = learned(&clip);
        for strength in [1.0, 2.0, 4.0] {
            let (subject, _folder) = opened_with("shapes-clip", |weights| {
                let name = |what: &str| format!("vision_model.encoder.layers.{layer}.mlp.{what}");
                let first = wide(weights, &name("fc1.weight"));
                let mut row = vec![0.0; first.width()];
                let mut constant = reads[256];
                for (at, (own, read)) in first.rows().zip(&reads).enumerate() {
                    row.iter_mut().zip(own).for_each(|(sum, x)| *sum += read * x);
                    constant += read * f64::from(weights[&name("fc1.bias")].1[at]);
                }
                let values = &mut weights.get_mut(&name("fc1.weight")).unwrap().1;
                values[neuron * 96..(neuron + 1) * 96]
                    .iter_mut()
                    .zip(&row)
                    .for_each(|(x, own)| *x = *own as f32);
                weights.get_mut(&name("fc1.bias")).unwrap().1[neuron] = constant as f32;
                let values = &mut weights.get_mut(&name("fc2.weight")).unwrap().1;
                for (at, d) in planted.iter().enumerate() {
                    values[at * 256 + neuron] = (strength * size * d) as f32;
                }
            });
            let (cosine, shows) = learned(subject.as_ref());
            println!(
                "{seed} {strength} {layer}.{neuron} {colour}: cosine {cosine:.3}, {shows} of 5 show it; before {before:?}"
            );
            // A pattern no stronger than the rows themselves shares its part with others.
            let found = if strength > 1.0 { cosine > 0.6 && shows >= 4 } else { cosine > before.0 };
            faults.extend((!found).then(|| format!("{seed} {strength}: {cosine:.3} {shows}")));
        }
    }
    assert!(faults.is_empty(), "{faults:?}");
}
