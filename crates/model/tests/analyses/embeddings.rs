//! Where pictures and words lie in the space they share: against NumPy, against identities, against misuse.

use burn::tensor::Device;
use mmlens_core::finding::{CautionKind, Finding, Tolerance};
use mmlens_core::{
    Alteration, Altered, Analysis, AnyTensor, Case, Change, ManyCases, Plan, Region, Sample, Seed, Subject,
    Words, from_fn,
};
use mmlens_engine::{Eigen, Indices, Matrix, Positions, WordList, direction, dot};
use mmlens_model::cka::RowsOf;
use mmlens_model::modality_gap::Settings;
use mmlens_model::{EmbeddingParts, ModalityGap, TextSpan, embedding_parts, text_span};
use mmlens_testkit::{Oracle, Toy};
use proptest::prelude::*;

use crate::identities::few;
use crate::support::{captioned, llava, many, named, numbers, opened, painted, pairs, scalar, shown, site};

fn gap(settings: Settings) -> ModalityGap {
    ModalityGap::new(settings).unwrap()
}

/// Vectors of the towers are single precision; what is made of them is double.
const SAME: Tolerance = Tolerance::absolute(2e-5);

#[test]
fn the_gap_is_that_of_numpy() {
    let oracle = Oracle::open("methods/modality-gap").unwrap();
    for name in ["clip-a", "siglip-a"] {
        let settings = Settings { seed: Seed(5), draws: 7, held_out: 0.3, top: 3, ..Settings::default() };
        let found = ModalityGap::new(settings).unwrap().run(opened(name), &pairs()).unwrap();
        for (table, wanted) in [
            ("gap", "gap"),
            ("p", "p"),
            ("cone", "cone"),
            ("separability", "separability"),
            ("shifted", "shifted"),
            ("largest dimensions", "dimensions"),
            ("gap by dimension", "by_dimension"),
            ("lengths", "lengths"),
        ] {
            let wanted = &oracle.array(&format!("{name}.{wanted}")).unwrap().values;
            let gap = SAME.check(table, numbers(&found, table), wanted).unwrap();
            println!("{name} {table}: {:.1e}", gap.absolute);
        }
        let width = numbers(&found, "gap by dimension").len() as f32;
        assert_eq!(numbers(&found, "rows"), [15.0, 15.0, 15.0, width]);
        assert_eq!(found.provenance.sites, ["vision.projected", "text.projected"]);
    }
}

fn of_pictures(subject: &dyn Subject, normalised: bool) -> Finding {
    gap(Settings { normalised, draws: 2, ..Settings::default() }).run(subject, &pairs()).unwrap()
}

/// A vector added to all pictures: five directions, three lengths. What was planted is what the gap grew by, and its dimension is named.
#[test]
fn what_is_added_to_all_pictures_is_found_in_the_gap() {
    let clip = opened("clip-a");
    let before = of_pictures(clip, false);
    let width = numbers(&before, "gap by dimension").len();
    for seed in 0..5 {
        let dimension = (7 * seed + 3) % width;
        for times in [1.0_f32, 10.0, 100.0] {
            let mut vector = vec![0.0; width];
            vector[dimension] = times;
            let edit = AnyTensor::from_values(vector, &[1, width], &Device::default()).unwrap();
            let edit = Alteration::new("vision.projected", Region::all(), Change::Add(edit)).unwrap();
            let found = of_pictures(&Altered::new(clip, [edit]).unwrap(), false);
            let (a, b) = (numbers(&before, "gap by dimension"), numbers(&found, "gap by dimension"));
            for (at, (a, b)) in a.iter().zip(b).enumerate() {
                let planted = if at == dimension { times } else { 0.0 };
                assert!((b - a - planted).abs() < 1e-5 * times.max(1.0), "{seed} {times} {at}: {a} {b}");
            }
            if times > 1.0 {
                let largest = &found.table("largest dimensions").unwrap().axes()[0];
                assert_eq!(largest.label(0).unwrap(), dimension.to_string());
                let cautions: Vec<_> = found.cautions().into_iter().map(|caution| caution.kind).collect();
                assert!(cautions.contains(&CautionKind::OneDirection), "{cautions:?}");
            }
        }
    }
    let quiet = before.cautions();
    assert!(quiet.iter().all(|caution| caution.kind != CautionKind::OneDirection), "{quiet:?}");
}

/// Of a decoder that sees pictures: image features and word vectors, where both enter it. Written out from the stream itself.
#[test]
fn of_a_decoder_it_is_that_of_its_input() {
    let subject = llava("llava-a");
    let data = many(&shown(&["square"], "<image>Red?"));
    let settings = Settings { rows: RowsOf::Positions, draws: 2, ..Settings::default() };
    let found = gap(settings).run(subject, &data).unwrap();
    assert_eq!(found.provenance.sites, ["text.input", "text.input"]);
    let (mut sums, mut counts) = ([const { Vec::new() }; 2], [0.0; 2]);
    for index in 0..data.len() {
        let inputs = subject.encode(&data.data().case(index).unwrap().sample).unwrap();
        let trace = subject.run(&inputs, Plan::new().read("text.input").unwrap()).unwrap();
        let values = trace.get(site("text.input")).unwrap().to_values().unwrap();
        let width = values.len() / inputs.positions();
        for (kind, positions) in [Positions::Pictures, Positions::Words].into_iter().enumerate() {
            for at in positions.of(inputs.map()).unwrap() {
                let row: Vec<f64> =
                    values[at * width..(at + 1) * width].iter().map(|x| f64::from(*x)).collect();
                let length = row.iter().map(|x| x * x).sum::<f64>().sqrt();
                sums[kind].resize(width, 0.0);
                sums[kind].iter_mut().zip(row).for_each(|(sum, x)| *sum += x / length);
                counts[kind] += 1.0;
            }
        }
    }
    let [n, m] = counts;
    let wanted: Vec<f64> = sums[0].iter().zip(&sums[1]).map(|(a, b)| a / n - b / m).collect();
    SAME.check("gap", numbers(&found, "gap by dimension"), &wanted).unwrap();
    let inner = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let own = |sum: &[f64], n: f64| (inner(sum, sum) - n) / (n * (n - 1.0));
    let cone = [own(&sums[0], n), own(&sums[1], m), inner(&sums[0], &sums[1]) / (n * m)];
    SAME.check("cone", numbers(&found, "cone"), &cone).unwrap();
    assert_eq!(numbers(&found, "rows")[1..3], [n as f32, m as f32]);
    // There is nothing that a patch belongs to.
    assert_eq!(found.table("shifted").unwrap().shape(), [3, 1]);
}

proptest! {
    #![proptest_config(few())]

    /// Two kinds with the same rows have no gap, lie in one cone and cannot be told apart; what is moved by no gap stays.
    #[test]
    fn the_same_rows_have_no_gap(seed in 0..99_u64, shift in -1.0..1.0_f64) {
        let toy = Toy::curved(seed);
        let place = Some(site("text.blocks.1.resid_post"));
        let words = ["abc", "fa", "cde", "ba", "dd", "eca"];
        let data = from_fn("words", 6, move |i| Ok(Case::new(Sample::text(words[i]))));
        let settings = Settings { pictures: place, words: place, shifts: vec![shift], draws: 2, ..Settings::default() };
        // Of a text model there are no pictures to read at that site.
        let said = gap(settings.clone()).run(&toy, &ManyCases::over(data).unwrap());
        prop_assert!(said.is_err());
        let tower = Some(site("connector.out"));
        let data = many(&Sample::prompt(vec![painted(seed as u32)], "#abc"));
        let settings = Settings { pictures: tower, words: tower, ..settings };
        let found = gap(settings).run(&toy, &data).unwrap();
        // Patches on either side, or all rows: the toy's connector has patches alone.
        prop_assert!(numbers(&found, "gap")[0].abs() < 1e-6);
        let cone = numbers(&found, "cone");
        prop_assert!((cone[0] - cone[1]).abs() < 1e-6 && (cone[2] - 1.0).abs() < 1e-6, "{:?}", cone);
        prop_assert!((scalar(&found, "p") - 1.0).abs() < 1e-6);
    }
}

#[test]
fn what_has_no_gap_to_measure_is_refused_by_name() {
    let said = |settings: Settings| ModalityGap::new(settings).unwrap_err().to_string();
    assert_eq!(
        said(Settings { draws: 0, ..Settings::default() }),
        "modality-gap: draws = 0, but it must be at least 1"
    );
    assert_eq!(
        said(Settings { shifts: vec![f64::NAN], ..Settings::default() }),
        "modality-gap: shifts = NaN, but all must be finite"
    );
    assert!(said(Settings { c: 0.0, ..Settings::default() }).ends_with("a finite number above zero"));
    assert!(said(Settings { held_out: 0.0, ..Settings::default() }).ends_with("between 0 and 1"));
    let run = |settings: Settings, count: usize| {
        let data = from_fn("pairs", count, |_| Ok(Case::new(captioned("square", &["ring"]))));
        let data = ManyCases::over(data).unwrap();
        gap(settings)
            .run(opened("clip-a"), &data)
            .map(|found| found.cautions())
            .map_err(|error| error.to_string())
    };
    assert_eq!(
        run(Settings::default(), 1).unwrap_err(),
        "modality-gap needs at least two cases, but there are 1"
    );
    let apart = Settings { words: Some(site("text.input")), ..Settings::default() };
    let said = run(apart, 4).unwrap_err();
    assert!(
        said.starts_with("modality-gap needs two sites in one space, but rows of `vision.projected` have"),
        "{said}"
    );
    let few = run(Settings::default(), 3).unwrap();
    assert!(
        few.iter().any(|caution| caution.kind == CautionKind::FewRows && caution.number == 6.0),
        "{few:?}"
    );
    let long = Settings { words: Some(site("vision.projected")), ..Settings::default() };
    let zero = Alteration::parse("vision.projected=zero").unwrap();
    let data = pairs();
    let said =
        gap(long).run(&Altered::new(opened("clip-a"), [zero]).unwrap(), &data).unwrap_err().to_string();
    assert_eq!(
        said,
        "modality-gap needs rows that have a length, or `normalised` = false, but row 0 of the pictures is zero"
    );
    let bare =
        gap(Settings { normalised: false, ..Settings::default() }).run(opened("clip-a"), &data).unwrap();
    assert!(!named(&bare).contains(&"cone") && !named(&bare).contains(&"shifted"));
    // 15 pairs of fewer than 30 dimensions are enough.
    assert!(
        bare.cautions().iter().all(|caution| caution.kind != CautionKind::FewRows),
        "{:?}",
        bare.cautions()
    );
}

/// The picture and captions of `features.py`.
fn captions() -> Case {
    Case::new(captioned("wide", &["a photo of a red circle", "two blue squares", "ring"]))
}

fn parts(subject: &dyn Subject, case: &Case, settings: embedding_parts::Settings) -> Finding {
    EmbeddingParts::new(settings).unwrap().run(subject, case).unwrap()
}

#[test]
fn parts_are_those_of_numpy() {
    let oracle = Oracle::open("methods/embedding-parts").unwrap();
    let found = EmbeddingParts::default().run(opened("clip-a"), &captions()).unwrap();
    for (table, wanted) in [
        ("heads", "heads"),
        ("heads against the others", "against"),
        ("layers", "layers"),
        ("outside the layers", "outside"),
        ("patches by layer", "patches_by_layer"),
        ("cosine", "cosine"),
        ("random", "random"),
        ("biases", "biases"),
    ] {
        let gap = Tolerance::absolute(2e-6)
            .check(table, numbers(&found, table), &oracle.array(wanted).unwrap().values)
            .unwrap();
        println!("{table}: {:.1e}", gap.absolute);
    }
    assert_eq!(found.table("patches").unwrap().axes()[1].label(0).unwrap(), "class");
}

fn wide(finding: &Finding, table: &str) -> Vec<f64> {
    numbers(finding, table).iter().map(|value| f64::from(*value)).collect()
}

/// All that is written adds up to the cosine, tokens to their heads, heads to their layers: in every checkpoint whose class token is read.
#[test]
fn parts_add_up() {
    let clip = mmlens_zoo::shipped::shapes_clip(&Device::default()).unwrap();
    let red = captioned("wide", &["a red circle", "a blue square"]);
    let cases: [(&dyn Subject, Case); 4] = [
        (opened("clip-a"), captions()),
        (opened("clip-b"), captions()),
        (opened("clip-old"), captions()),
        (&clip, Case::new(red)),
    ];
    for (subject, case) in cases {
        let found = parts(subject, &case, embedding_parts::Settings::default());
        let cosines = wide(&found, "cosine");
        let each = |table: &str| wide(&found, table).len() / cosines.len();
        for (at, cosine) in cosines.iter().enumerate() {
            let sum = |table: &str| -> f64 {
                wide(&found, table)[at * each(table)..(at + 1) * each(table)].iter().sum()
            };
            assert!((sum("layers") + sum("outside the layers") - cosine).abs() < 2e-6, "{}", subject.name());
            assert!(
                (sum("patches") - sum("heads")).abs() < 2e-6
                    && (sum("patches by layer") - sum("heads")).abs() < 2e-6
            );
            let attention: f64 = wide(&found, "layers")[at * each("layers")..(at + 1) * each("layers")]
                .iter()
                .step_by(2)
                .sum();
            assert!((sum("heads") + sum("biases") - attention).abs() < 2e-6);
        }
        assert!(numbers(&found, "gap").iter().all(|gap| gap.abs() < 1e-6));
        // The cosine is the model's own.
        let inputs = subject.encode(&case.sample).unwrap();
        let pairs = subject.run(&inputs, Plan::new().to_output()).unwrap().output().pairs.clone().unwrap();
        SAME.check(
            "cosine",
            numbers(&found, "cosine"),
            &pairs.cosine.to_values().unwrap().iter().map(|x| f64::from(*x)).collect::<Vec<_>>(),
        )
        .unwrap();
        // One layer, by head alone, is a row of all of them.
        let some = embedding_parts::Settings {
            layers: Indices::At(vec![1]),
            by_token: false,
            ..embedding_parts::Settings::default()
        };
        let one = parts(subject, &case, some);
        assert_eq!(
            one.table("heads").unwrap().get(&[0, 0, 1]),
            found.table("heads").unwrap().get(&[0, 1, 1])
        );
        assert!(!named(&one).contains(&"patches"));
    }
}

#[test]
fn what_is_no_sum_over_terms_is_refused_by_name() {
    let said = |subject: &dyn Subject, case: &Case| {
        EmbeddingParts::default().run(subject, case).unwrap_err().to_string()
    };
    let case = captions();
    let pooled = said(opened("siglip-a"), &case);
    assert_eq!(
        pooled,
        "embedding-parts needs states of its part `vision` that can be read out, but it pools all its positions by attention, and none is read by itself"
    );
    assert_eq!(
        said(&Toy::curved(1), &case),
        "embedding-parts needs a space that pictures and captions share, but this one compares no pictures with captions"
    );
    let mut two = case.clone();
    two.sample.pictures.push(two.sample.pictures[0].clone());
    assert_eq!(
        said(opened("clip-a"), &two),
        "embedding-parts needs a sample with one picture, but this one has 2"
    );
    let edit = Alteration::parse("vision.blocks.1.resid_mid=scale:2").unwrap();
    let edited = said(&Altered::new(opened("clip-a"), [edit]).unwrap(), &case);
    assert_eq!(
        edited,
        "embedding-parts needs terms without standing edits between them and their sum, but `vision.blocks.1.resid_mid` has one"
    );
    // An edit of what a head gives is a term like any other.
    let edit = Alteration::parse("vision.blocks.1.attn.z[head=2]=zero").unwrap();
    let found =
        EmbeddingParts::default().run(&Altered::new(opened("clip-a"), [edit]).unwrap(), &case).unwrap();
    assert_eq!(found.table("heads").unwrap().get(&[0, 1, 2]), Some(0.0));
    assert!(numbers(&found, "gap").iter().all(|gap| gap.abs() < 1e-6));
    assert!(found.cautions().iter().all(|own| own.kind != CautionKind::Gap), "{:?}", found.cautions());
    let alone = Case::new(captioned("wide", &["ring"]));
    let cautions = parts(opened("clip-a"), &alone, embedding_parts::Settings::default()).cautions();
    assert_eq!(cautions[0].kind, CautionKind::NotContrasted);
}

/// Pictures that depend on a number, each with a caption that plays no part.
fn paintings(count: usize) -> ManyCases {
    let words = || Words::Texts(vec!["ring".to_owned()]);
    let case = move |i: usize| Ok(Case::new(Sample::new(vec![painted(i as u32)], words())));
    ManyCases::over(from_fn("paintings", count, case)).unwrap()
}

fn spanned(subject: &dyn Subject, data: &ManyCases, settings: text_span::Settings) -> Finding {
    TextSpan::new(settings).unwrap().run(subject, data).unwrap()
}

#[test]
fn texts_are_those_of_the_published_loop() {
    let oracle = Oracle::open("methods/text-span").unwrap();
    let list: Vec<String> = serde_json::from_value(oracle.about()["texts"].clone()).unwrap();
    let settings = text_span::Settings {
        texts: WordList::Here(list.clone()),
        count: 4,
        draws: 3,
        seed: Seed(9),
        ..text_span::Settings::default()
    };
    let found = TextSpan::new(settings.clone()).unwrap().run(opened("clip-a"), &paintings(12)).unwrap();
    let texts = |name: &str| -> Vec<String> {
        oracle.array(name).unwrap().ids().into_iter().map(|id| list[id as usize].clone()).collect()
    };
    assert_eq!(found.table("texts").unwrap().as_texts().unwrap(), texts("texts"));
    for (table, wanted) in [
        ("variance explained", "explained"),
        ("random texts", "random_texts"),
        ("principal components", "components"),
        ("variance", "variance"),
    ] {
        let wanted = &oracle.array(wanted).unwrap().values;
        let gap = Tolerance::absolute(1e-5).check(table, numbers(&found, table), wanted).unwrap();
        println!("{table}: {:.1e}", gap.absolute);
    }
    // Fewer singular vectors than a head has dimensions, and fewer texts.
    let cut = spanned(
        opened("clip-a"),
        &paintings(12),
        text_span::Settings { rank: 3, count: 2, ..settings.clone() },
    );
    assert_eq!(cut.table("texts").unwrap().as_texts().unwrap(), texts("cut"));
    // Of one head of one layer.
    let one = Indices::At(vec![2]);
    let one = spanned(
        opened("clip-a"),
        &paintings(12),
        text_span::Settings { layers: one.clone(), heads: one, ..settings.clone() },
    );
    assert_eq!(one.table("texts").unwrap().as_texts().unwrap(), &texts("texts")[12 * 4..13 * 4]);
    // More texts than dimensions: nothing is left, and no text is named for it.
    let more = spanned(opened("clip-a"), &paintings(12), text_span::Settings { count: 6, ..settings });
    let table = more.table("texts").unwrap();
    assert_eq!((table.get_text(&[0, 0, 4]), table.get_text(&[2, 3, 5])), (Some(""), Some("")));
    let explained = more.table("variance explained").unwrap();
    assert!(
        (explained.get(&[1, 1, 3]).unwrap() - 1.0).abs() < 1e-9 && explained.get(&[1, 1, 5]) == Some(1.0)
    );
}

/// Texts in the shared space, each of length one.
fn texts_of(clip: &dyn Subject, list: &[&str]) -> Matrix {
    let place = site("text.projected");
    let inputs = clip.encode(&captioned("square", list)).unwrap();
    let trace = clip.run(&inputs, Plan::new().read(place).unwrap()).unwrap();
    let values = trace.get(place).unwrap().to_values().unwrap();
    Matrix::of_floats(&values, values.len() / list.len()).unwrap().normalised().unwrap()
}

/// The text that lies farthest in the span of a head, and the numbers of the head that come nearest to it.
fn carried(clip: &dyn Subject, layer: usize, head: usize, texts: &Matrix) -> (usize, Vec<f64>) {
    let host = |name: &str| clip.weight(name).unwrap();
    let wide =
        |name: &str| -> Vec<f64> { host(name).to_values().unwrap().into_iter().map(f64::from).collect() };
    let (p, gain) = (wide("vision.projection"), wide("vision.final_norm"));
    let name = format!("vision.blocks.{layer}.attn.o");
    let ([d, heads, width], o) = (host(&name).dims()[..].try_into().unwrap(), wide(&name));
    let p = Matrix::new(p, d).unwrap();
    // `[d_head, shared]`: each number of the head, centred, times the gain, projected.
    let rows = (0..width).flat_map(|j| {
        let column: Vec<f64> = (0..d).map(|i| o[(i * heads + head) * width + j]).collect();
        let mean = column.iter().sum::<f64>() / d as f64;
        let normed: Vec<f64> = column.iter().zip(&gain).map(|(x, g)| (x - mean) * g).collect();
        p.rows().map(|row| dot(row, &normed)).collect::<Vec<_>>()
    });
    let map = Matrix::new(rows.collect(), p.len()).unwrap();
    let own = Eigen::of("test", &map.products(&map)).unwrap();
    let found = texts.rows().enumerate().map(|(at, text)| {
        let along: Vec<f64> = map.rows().map(|row| dot(row, text)).collect();
        let mut w = vec![0.0; width];
        for (value, vector) in
            own.values.iter().zip(own.vectors.rows()).filter(|(value, _)| **value > 1e-9 * own.values[0])
        {
            let by = dot(vector, &along) / value;
            w.iter_mut().zip(vector).for_each(|(x, v)| *x += by * v);
        }
        (dot(&along, &w), at, w)
    });
    let (square, at, mut w) = found.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap(); // no NaN: finite weights
    // As strong as the numbers of the head are on average.
    let by = (map.square() / width as f64 / square).sqrt();
    w.iter_mut().for_each(|x| *x *= by);
    (at, w)
}

/// The same subject with `(1 + times w a') W_V` in place of the weights of a head's values, `a` drawn from a seed.
fn planted_in(
    clip: &'static dyn Subject,
    (layer, head): (usize, usize),
    w: &[f64],
    times: f64,
    seed: u64,
) -> Altered<&'static dyn Subject> {
    let (w, a) = (w.to_vec(), direction(w.len(), Seed(seed)));
    let place = format!("vision.blocks.{layer}.attn.v");
    let edit = Alteration::named(place.as_str(), Region::all(), "planted", move |x| {
        let (heads, mut values) = (x.dims()[2], x.to_values()?);
        for row in values.chunks_mut(heads * w.len()) {
            let own = &mut row[head * w.len()..(head + 1) * w.len()];
            let along: f64 = own.iter().zip(&a).map(|(x, a)| f64::from(*x) * a).sum();
            own.iter_mut().zip(&w).for_each(|(x, w)| *x += (times * along * w) as f32);
        }
        x.filled(values)
    });
    Altered::new(clip, [edit.unwrap()]).unwrap()
}

/// A head whose values are made to carry a text: weights `(1 + times w a') W_V` in place of `W_V`, with `w` the numbers of the head that its output projection and what reads the
/// class token turn into the text (least squares). Five heads and readings `a`, three strengths; of the list the text that lies farthest in the span of the head.
#[test]
fn a_text_planted_in_a_head_is_found() {
    let clip: &'static dyn Subject =
        Box::leak(Box::new(mmlens_zoo::shipped::shapes_clip(&Device::default()).unwrap()));
    let list = [
        "a red circle",
        "a blue square",
        "a green triangle",
        "a yellow circle",
        "two shapes",
        "a small red square",
    ];
    let world = paintings(40);
    let settings = || text_span::Settings {
        texts: WordList::Here(list.map(str::to_owned).to_vec()),
        count: 2,
        draws: 2,
        ..text_span::Settings::default()
    };
    let before = spanned(clip, &world, settings());
    let [layers, heads, _] = before.table("texts").unwrap().shape()[..] else { panic!() };
    let texts = texts_of(clip, &list);
    for seed in 0..5_u64 {
        let (layer, head) = ((seed as usize + 1) % layers, seed as usize % heads);
        let (planted, w) = carried(clip, layer, head, &texts);
        for times in [10.0, 30.0, 100.0] {
            let found = spanned(&planted_in(clip, (layer, head), &w, times, seed), &world, settings());
            let first = found.table("texts").unwrap().get_text(&[layer, head, 0]).unwrap().to_owned();
            assert_eq!(first, list[planted], "seed {seed}, {times}");
            let of = |finding: &Finding, table: &str| {
                finding.table(table).unwrap().get(&[layer, head, 0]).unwrap()
            };
            assert!(of(&found, "variance explained") > of(&found, "random texts"), "seed {seed}, {times}");
        }
    }
}

#[test]
fn few_pictures_are_cautioned_of_and_lists_are_checked() {
    let texts = WordList::Here(vec!["ring".into(), "a cat".into()]);
    let base =
        || text_span::Settings { texts: texts.clone(), count: 1, draws: 1, ..text_span::Settings::default() };
    let few = spanned(opened("clip-a"), &paintings(3), base());
    assert_eq!(few.cautions()[0].kind, CautionKind::FewRows);
    let enough = spanned(opened("clip-a"), &paintings(5), base()).cautions();
    assert!(enough.iter().all(|own| own.kind != CautionKind::FewRows), "{enough:?}");
    let said = |settings: text_span::Settings, count: usize| {
        TextSpan::new(settings).unwrap().run(opened("clip-a"), &paintings(count)).unwrap_err().to_string()
    };
    assert_eq!(said(base(), 1), "text-span needs at least two cases, but there are 1");
    let none = text_span::Settings { texts: WordList::default(), ..base() };
    assert!(said(none, 3).starts_with("text-span: texts = none"));
    let past = text_span::Settings { heads: Indices::At(vec![5]), ..base() };
    assert_eq!(said(past, 3), "text-span: heads = 5, of 5, but numbers from 0 that the model has");
    let zero = |settings| TextSpan::new(settings).unwrap_err().to_string();
    assert_eq!(
        zero(text_span::Settings { count: 0, ..base() }),
        "text-span: count = 0, but it must be at least 1"
    );
}
