//! Decoders: identities, batches, sessions, standing edits, refusals, cautions.

use std::sync::Arc;

use mmlens_core::finding::{CautionKind, Tolerance};
use mmlens_core::{
    Alteration, Altered, Analysis, AnyTensor, AxisName, Beams, Case, Change, Generated, Generation, Inputs,
    MASKED, Part, Picture, Plan, Point, Region, Reply, Sample, Sampling, Seed, Session, Site, Subject,
};
use mmlens_inference::decoding::{
    Branch, Branches, Contrast, Divergence, Early, Form, ReadOut, Rule, kept_of_signal, noised,
    without_pictures,
};
use mmlens_inference::{DECODERS, Decoder, Dola, Pai, Vcd, dola, pai, vcd};
use mmlens_testkit::{Toy, picture};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{few, kinds, opened, painted, shown};

/// With a cache sums are made in another order.
const CACHED: Tolerance = Tolerance::either(2e-5, 1e-5);

fn decoder(name: &str, settings: Value) -> Box<dyn Decoder> {
    DECODERS.iter().find(|row| row.card.short == name).unwrap().make(settings).unwrap()
}

/// Every decoder, as it is tried on a model of two blocks or more.
fn every() -> Vec<Box<dyn Decoder>> {
    vec![
        decoder("vcd", json!({ "seed": 3 })),
        decoder("pai", json!({ "from": 0, "alpha": 0.7, "gamma": 1.5 })),
        decoder("dola", json!({ "layers": { "at": [0, 1] } })),
    ]
}

fn drawn(seed: u64) -> Generation {
    let sampling = Sampling::Draw { temperature: 1.3, top_p: 1.0, seed: Seed(seed) };
    Generation { max_new: 6, sampling, stop_at_end: false }
}

fn greedy() -> Generation {
    Generation { max_new: 6, stop_at_end: false, ..Generation::default() }
}

fn toys(seed: u64) -> (Toy, Inputs) {
    let toy = Toy::curved(seed);
    let inputs = toy.encode(&Sample::prompt(vec![painted(seed as u32)], "#abc")).unwrap();
    (toy, inputs)
}

/// Prompts of several lengths and pictures as one batch.
fn batch(subject: &dyn Subject) -> (Vec<Inputs>, Inputs) {
    let words = ["#a", "#bdea", "ab#c"];
    let one = |(at, words): (usize, &&'static str)| {
        subject.encode(&Sample::prompt(vec![painted(at as u32 + 7)], *words)).unwrap()
    };
    let all: Vec<Inputs> = words.iter().enumerate().map(one).collect();
    let batch = Inputs::batch(&all, subject.pad()).unwrap();
    (all, batch)
}

fn tokens(answers: &[Generated]) -> Vec<Vec<u32>> {
    answers.iter().map(|answer| answer.tokens.clone()).collect()
}

/// The same tokens can come, with the same scores. What cannot stands so low that any difference would be small beside it.
fn near(what: &str, found: &[f32], wanted: &[f32]) {
    let can = |scores: &[f32]| scores.iter().map(|score| *score > MASKED).collect::<Vec<bool>>();
    assert_eq!(can(found), can(wanted), "{what}");
    let scores = |all: &[f32]| all.iter().copied().filter(|score| *score > MASKED).collect::<Vec<f32>>();
    CACHED.check(what, &scores(found), &scores(wanted)).unwrap();
}

fn bits(x: &AnyTensor) -> Vec<u32> {
    x.to_values().unwrap().into_iter().map(f32::to_bits).collect()
}

proptest! {
    #![proptest_config(few())]

    /// No strength is plain decoding to the bit: tokens and their probabilities, greedy, drawn and searched for. What rules tokens out is
    /// a bound of its own, which greedy decoding does not notice.
    #[test]
    fn no_strength_is_plain_decoding(seed in 0..500_u64) {
        let (toy, inputs) = toys(seed);
        for (name, free, bound) in [
            ("vcd", json!({ "alpha": 0.0, "beta": 0.0 }), json!({ "alpha": 0.0 })),
            ("pai", json!({ "alpha": 0.0, "gamma": 1.0, "from": 1 }), json!({ "alpha": 0.0, "gamma": 1.0, "from": 0 })),
            ("dola", json!({ "alpha": 0.0, "beta": 0.0 }), json!({ "alpha": 0.0, "beta": 0.5 })),
        ] {
            let search = Generation { sampling: Sampling::Beams(Beams::new(2)), ..greedy() };
            for how in [greedy(), drawn(seed), search] {
                let plain = toy.generate(&inputs, &how).unwrap();
                prop_assert_eq!(&decoder(name, free.clone()).write(&toy, &inputs, &how).unwrap(), &plain);
            }
            let bounded = decoder(name, bound).write(&toy, &inputs, &greedy()).unwrap();
            prop_assert_eq!(tokens(&bounded), tokens(&toy.generate(&inputs, &greedy()).unwrap()));
        }
    }

    /// A branch that equals the model's own changes no bit, at any strength, where it is a contrast with it.
    #[test]
    fn a_branch_that_is_the_same_changes_nothing(seed in 0..500_u64, strength in 0.1_f32..3.0) {
        let (toy, inputs) = toys(seed);
        let plain = toy.generate(&inputs, &greedy()).unwrap();
        for form in [Form::Logits, Form::LogProbabilities] {
            let rule = Rule { strength, form, plausible: 0.0, divergence: Divergence::default() };
            let (own, beside) = (Branch::plain(inputs.clone()), vec![Branch::plain(inputs.clone())]);
            let contrast = Contrast { own, beside, early: None, rule };
            let mut session = Branches::begin(&toy, Arc::new(contrast), Plan::new()).unwrap();
            for token in &plain[0].tokens {
                let row = &session.scores()[0];
                match form {
                    Form::Logits => prop_assert_eq!(&row.scores, &row.own),
                    _ => {
                        let logs = mmlens_engine::distribution::log_probabilities(&row.own);
                        let logs: Vec<f32> = logs.into_iter().map(|log| log as f32).collect();
                        prop_assert_eq!(&row.scores, &logs);
                    }
                }
                session.step(&[*token], Plan::new()).unwrap();
            }
        }
    }

    /// Step by step with caches, as when every prompt is read anew with what was written.
    #[test]
    fn with_a_cache_as_without(seed in 0..500_u64) {
        let (toy, inputs) = toys(seed);
        for own in every() {
            let name = own.card().short;
            let mut session = own.begin(&toy, &inputs).unwrap();
            let mut whole = inputs.clone();
            for step in 0..4 {
                let anew = if name == "pai" && step > 0 {
                    // Each position that has spoken was the last query in its turn.
                    raised_whole(&toy, &inputs, &whole)
                } else {
                    own.begin(&toy, &whole).unwrap().scores()[0].scores.clone()
                };
                let row = &session.scores()[0];
                near(name, &row.scores, &anew);
                let token = (5 + 3 * step) as u32;
                session.step(&[token], Plan::new()).unwrap();
                whole = whole.with(|batch| batch.ids[0].push(token)).unwrap();
            }
        }
    }
}

/// Scores of `every`'s second decoder by one pass over prompt and answer, with all queries from the prompt's last on raised.
fn raised_whole(toy: &Toy, prompt: &Inputs, whole: &Inputs) -> Vec<f32> {
    let keys = prompt.map().of(mmlens_core::finding::Modality::Image);
    let queries = prompt.positions() - 1..whole.positions();
    let mut plan = Plan::new();
    for block in 0..2 {
        let region = Region::all().of(AxisName::Query, queries.clone()).of(AxisName::Key, keys.clone());
        let raise = |x: AnyTensor| {
            let values = x.to_values()?.into_iter();
            x.filled(values.map(|e| if e > MASKED / 2.0 { e + 0.7 * e.abs() } else { e }).collect())
        };
        plan = plan
            .change(Site::block(Part::Text, block, Point::Scores), region, Change::With(Arc::new(raise)))
            .unwrap();
    }
    let last = |subject: &Toy, inputs: &Inputs, plan: Plan| {
        let trace = subject.run(&inputs.clone().last_logits(), plan.to_output()).unwrap();
        trace.output().logits.clone().unwrap().to_values().unwrap()
    };
    let own = last(toy, whole, plan);
    let other = last(toy, &without_pictures(whole, 0).unwrap(), Plan::new());
    let rule = Rule {
        strength: 0.5,
        form: Form::LogProbabilities,
        plausible: 0.1,
        divergence: Divergence::default(),
    };
    rule.score(own, vec![other]).unwrap().scores
}

/// Rows of a batch, with padding and other pictures beside them, are written as they are alone, whether they end together or not.
#[test]
fn rows_are_written_as_they_are_alone() {
    let mut lengths = std::collections::BTreeSet::new();
    for own in every() {
        let toy = Toy::curved(11);
        let (all, together) = batch(&toy);
        let how = Generation { max_new: 12, ..greedy() };
        let alone = |toy: &Toy, how: &Generation| -> Vec<Vec<u32>> {
            all.iter().flat_map(|one| tokens(&own.write(toy, one, how).unwrap())).collect()
        };
        let whole = alone(&toy, &how);
        assert_eq!(tokens(&own.write(&toy, &together, &how).unwrap()), whole, "{}", own.card().id);
        // What is said at last in one row ends all rows that say it.
        let toy = Toy::curved(11).ending([whole[0][2], whole[1][4]]);
        let how = Generation { stop_at_end: true, ..how };
        let ended = alone(&toy, &how);
        lengths.extend(ended.iter().map(Vec::len));
        assert_eq!(tokens(&own.write(&toy, &together, &how).unwrap()), ended, "{}", own.card().id);
    }
    assert!(lengths.len() > 1, "{lengths:?}");
}

/// What a session of one branch can, one of several can: branches go their own way, steps back and rows that are kept leave no trace.
#[test]
fn branches_step_fork_and_go_back_together() {
    let toy = Toy::curved(5);
    let (_, together) = batch(&toy);
    for own in every() {
        let mut session = own.begin(&toy, &together).unwrap();
        let begun = bits(session.logits());
        assert_eq!(session.begun().is_some(), session.steps() == 0);
        session.step(&[1, 2, 3], Plan::new()).unwrap();
        let one = bits(session.logits());
        let mut twig = session.fork();
        twig.step(&[4, 5, 6], Plan::new()).unwrap();
        let two = bits(twig.logits());
        session.step(&[9, 9, 9], Plan::new()).unwrap();
        assert_ne!(bits(session.logits()), two);
        session.back(1).unwrap();
        assert_eq!(bits(session.logits()), one);
        session.step(&[4, 5, 6], Plan::new()).unwrap();
        assert_eq!(bits(session.logits()), two);
        // Row 2 twice and row 0: their scores, now and after a step back.
        let vocab = session.scores()[0].scores.len();
        let rows = |all: &[u32], rows: &[usize]| -> Vec<u32> {
            rows.iter().flat_map(|row| all[row * vocab..][..vocab].to_vec()).collect()
        };
        session.keep(&[2, 2, 0]).unwrap();
        assert_eq!(bits(session.logits()), rows(&two, &[2, 2, 0]));
        session.step(&[7, 8, 7], Plan::new()).unwrap();
        twig.step(&[7, 0, 7], Plan::new()).unwrap();
        let found = session.logits().to_values().unwrap();
        let wanted = twig.logits().to_values().unwrap();
        near("kept", &found[..vocab], &wanted[2 * vocab..3 * vocab]);
        near("kept", &found[2 * vocab..], &wanted[..vocab]);
        session.back(2).unwrap();
        assert_eq!(bits(session.logits()), rows(&one, &[2, 2, 0]));
        session.back(1).unwrap();
        assert_eq!(bits(session.logits()), rows(&begun, &[2, 2, 0]));
        let said = session.back(1).unwrap_err().to_string();
        assert_eq!(said, "1 steps are to be taken back, but 0 can be");
        // A step that fails leaves it where it was.
        let before = bits(session.logits());
        assert!(session.step(&[1], Plan::new()).is_err());
        assert!(session.step(&[1, 2, 3], Plan::new().read("vision.pixels").unwrap()).is_err());
        assert_eq!((bits(session.logits()), session.steps()), (before, 0));
        session.step(&[1, 2, 3], Plan::new()).unwrap();
        session.settle();
        assert!(session.back(1).is_err());
    }
}

/// The early branch is what the stream is read out as, at the position that speaks.
#[test]
fn an_early_branch_is_the_stream_read_out() {
    let subject = opened("llava-a");
    let inputs = subject.encode(&shown("square", "<image>Red?")).unwrap();
    for block in 0..3 {
        let rule =
            Rule { strength: 1.0, form: Form::Difference, plausible: 0.1, divergence: Divergence::default() };
        let early = Some(Early { blocks: vec![block], read_out: ReadOut::Norm });
        let contrast = Contrast { own: Branch::plain(inputs.clone()), beside: Vec::new(), early, rule };
        let session = Branches::begin(subject, Arc::new(contrast), Plan::new()).unwrap();
        let site = Site::block(Part::Text, block, Point::ResidPre);
        let states =
            subject.run(&inputs, Plan::new().read(site).unwrap()).unwrap().get(site).unwrap().clone();
        let [_, positions, width] = <[usize; 3]>::try_from(states.dims()).unwrap();
        let last = states.part(1, positions - 1, 1).unwrap().to_values().unwrap();
        let row = states.shaped(last, &[1, width]).unwrap();
        let wanted = subject.read_out(Part::Text, row).unwrap().to_values().unwrap();
        let (which, found) = session.scores()[0].other.clone().unwrap();
        assert_eq!(which, 0);
        Tolerance::either(1e-6, 1e-5).check("read out", &found, &wanted).unwrap();
    }
}

/// All branches have the standing edits of a subject; edits that change nothing leave every bit.
#[test]
fn standing_edits_are_in_every_branch() {
    let toy = Toy::curved(3);
    let inputs = toy.encode(&Sample::prompt(vec![painted(4)], "#ab")).unwrap();
    let edit = |by: f32| {
        let change = Alteration::new("text.blocks.1.mlp_out", Region::all(), Change::Scale(by)).unwrap();
        Altered::new(Toy::curved(3), [change]).unwrap()
    };
    for own in every() {
        let plain = own.write(&toy, &inputs, &greedy()).unwrap();
        assert_eq!(own.write(&edit(1.0), &inputs, &greedy()).unwrap(), plain);
        let scores = |subject: &dyn Subject| own.begin(subject, &inputs).unwrap().scores()[0].clone();
        let (before, after) = (scores(&toy), scores(&edit(0.0)));
        assert!(before.own != after.own && before.scores != after.scores, "{}", own.card().id);
        let other = |row: &mmlens_inference::decoding::RowScores| row.other.clone().unwrap().1;
        // The stream before a block does not see an edit behind it; another session does.
        assert_eq!(other(&before) == other(&after), own.card().short == "dola");
    }
}

/// Noise is that of the formula, number by number, and the same whatever else is in the batch.
#[test]
fn noise_is_drawn_by_picture_and_number() {
    let toy = Toy::curved(1);
    let (all, together) = batch(&toy);
    let (kept, seed) = (0.6, Seed(9));
    let values = |inputs: &Inputs| inputs.seen.values.as_ref().unwrap().to_values().unwrap();
    let alone: Vec<f32> = all.iter().flat_map(|one| values(&noised(one, kept, seed).unwrap())).collect();
    assert_eq!(values(&noised(&together, kept, seed).unwrap()), alone);
    let whole = values(&all[0]);
    for (at, value) in whole.iter().enumerate() {
        let noise = seed.at(0).at(at as u64).normal();
        let wanted = (0.6 * f64::from(*value) + 0.8 * noise) as f32;
        assert_eq!(alone[at], wanted, "{at}");
    }
    assert_eq!(values(&noised(&all[0], 1.0, seed).unwrap()), whole);
    let text = toy.encode(&Sample::text("ab")).unwrap();
    let said = noised(&text, kept, seed).unwrap_err().to_string();
    assert_eq!(said, "the batch does not fit together: there are no pictures to noise");
}

/// The other branch of visual contrastive decoding is shown the noised picture, and the model's own the picture.
#[test]
fn a_noised_picture_is_the_other_branch() {
    let (toy, inputs) = toys(8);
    let settings = vcd::Settings { noise: 700, seed: Seed(5), alpha: 0.8, beta: 0.05 };
    let method = Vcd::new(settings).unwrap();
    let noised = noised(&inputs, kept_of_signal(700), Seed(5)).unwrap();
    let logits = |inputs: &Inputs| toy.begin(inputs, Plan::new()).unwrap().logits().to_values().unwrap();
    let wanted = method.rule().score(logits(&inputs), vec![logits(&noised)]).unwrap();
    assert_eq!(method.begin(&toy, &inputs).unwrap().scores(), [wanted]);
}

/// Without its picture a prompt is its words, as if they had been given alone.
#[test]
fn a_prompt_without_its_picture_is_its_words() {
    let toy = Toy::curved(1);
    let (_, together) = batch(&toy);
    let bare = without_pictures(&together, 0).unwrap();
    let words: Vec<Inputs> =
        ["a", "bdea", "abc"].map(|words| toy.encode(&Sample::text(words)).unwrap()).to_vec();
    let wanted = Inputs::batch(&words, 0).unwrap();
    assert_eq!((&bare.ids, &bare.pads, bare.seen.len()), (&wanted.ids, &wanted.pads, 0));
    let logits = |inputs: &Inputs| toy.begin(inputs, Plan::new()).unwrap().logits().to_values().unwrap();
    assert_eq!(logits(&bare), logits(&wanted));
    // Of a checkpoint, whose placeholder is many positions.
    let llava = opened("llava-a");
    let seen = llava.encode(&shown("square", "<image>Red?")).unwrap();
    let bare = without_pictures(&seen, 0).unwrap();
    assert_eq!(bare.ids, llava.encode(&Sample::text("Red?")).unwrap().ids);
}

/// Raised scores are attention that looks more at the picture, in every head that looks there at all.
#[test]
fn raised_scores_look_at_the_picture_more() {
    let subject = opened("llava-a");
    let inputs = subject.encode(&shown("square", "<image>Red?")).unwrap();
    let pattern = Site::block(Part::Text, 1, Point::Pattern);
    let mass = |alpha: f32| {
        let own = decoder("pai", json!({ "from": 1, "alpha": alpha, "gamma": 1.0 }));
        let contrast = own.contrast(subject, &inputs).unwrap();
        let mut session =
            Branches::begin(subject, Arc::new(contrast), Plan::new().read(pattern).unwrap()).unwrap();
        let mut all = Vec::new();
        for step in 0..2 {
            let trace = match step {
                0 => session.begun().unwrap(),
                _ => session.step(&[7], Plan::new().read(pattern).unwrap()).unwrap(),
            };
            let weights = trace.get(pattern).unwrap();
            let [_, heads, queries, keys] = <[usize; 4]>::try_from(weights.dims()).unwrap();
            let values = weights.to_values().unwrap();
            let seen = inputs.map().of(mmlens_core::finding::Modality::Image);
            for head in 0..heads {
                let row = &values[(head * queries + queries - 1) * keys..][..keys];
                all.push(seen.iter().map(|key| row[*key]).sum::<f32>());
            }
        }
        all
    };
    let (plain, raised) = (mass(0.0), mass(0.8));
    assert_eq!(plain.len(), 12);
    assert!(plain.iter().zip(&raised).all(|(plain, raised)| raised > plain), "{plain:?} {raised:?}");
}

/// Families with tiles, with pictures of any size, with norms and caps of their own: no strength is plain decoding, and caches agree.
#[test]
fn on_other_families() {
    let ask = || Sample::ask(Picture::open(picture("square")).unwrap(), "Red?");
    let mut compared = 0;
    for (name, sample) in [
        ("llava-next-a", ask()),
        ("smolvlm-a", ask()),
        ("qwen2-vl-a", ask()),
        ("qwen2.5-vl-a", ask()),
        ("qwen3-vl-a", ask()),
        ("gemma2-a", Sample::text("Go on")),
        ("gpt2-a", Sample::text("Go on")),
    ] {
        let subject = opened(name);
        let inputs = subject.encode(&sample).unwrap();
        let how = Generation { max_new: 3, ..greedy() };
        let plain = subject.generate(&inputs, &how).unwrap();
        for (zero, full) in [
            ("vcd", json!({ "alpha": 0.0, "beta": 0.0 }), json!({})),
            ("pai", json!({ "alpha": 0.0, "gamma": 1.0, "from": 0 }), json!({ "from": 0 })),
            ("dola", json!({ "alpha": 0.0, "beta": 0.0 }), json!({ "layers": "low" })),
            (
                "dola",
                json!({ "alpha": 0.0, "beta": 0.0 }),
                json!({ "layers": "low", "variant": "reference" }),
            ),
        ]
        .map(|(own, zero, full)| (decoder(own, zero), decoder(own, full)))
        {
            if zero.card().allows(subject).is_err() {
                assert!(
                    zero.card().short != "dola" && inputs.seen.values.is_none(),
                    "{name} {}",
                    zero.card().id
                );
                continue;
            }
            assert_eq!(zero.write(subject, &inputs, &how).unwrap(), plain, "{name} {}", zero.card().id);
            let mut session = full.begin(subject, &inputs).unwrap();
            let before = session.scores()[0].clone();
            assert!(before.other.is_some() && before.own != before.scores, "{name} {}", full.card().id);
            session.step(&[5], Plan::new()).unwrap();
            if full.card().short != "pai" {
                let whole = inputs.clone().with(|batch| batch.ids[0].push(5)).unwrap();
                let anew = full.begin(subject, &whole).unwrap();
                near(name, &session.scores()[0].scores, &anew.scores()[0].scores);
            }
            compared += 1;
        }
    }
    assert_eq!(compared, 5 * 4 + 2 * 2);
}

#[test]
fn what_cannot_be_contrasted_is_refused() {
    let words = Sample::text("ab");
    let toy = Toy::curved(1);
    let said = |own: Box<dyn Decoder>, subject: &dyn Subject, sample: &Sample| {
        let inputs = subject.encode(sample).unwrap();
        own.write(subject, &inputs, &greedy()).err().unwrap().to_string()
    };
    assert_eq!(
        said(decoder("vcd", json!({})), &toy, &words),
        "visual-contrastive-decoding needs a picture in every row, but row 0 shows none"
    );
    assert_eq!(
        said(decoder("pai", json!({ "from": 0 })), &toy, &words),
        "pay-attention-to-image needs a picture among the words of every row, but row 0 shows none"
    );
    let seen = Sample::prompt(vec![painted(1)], "#a");
    assert_eq!(
        said(decoder("pai", json!({})), &toy, &seen),
        "pay-attention-to-image: from = 2, of 2 blocks, but a block, counted from 0, that the language model has"
    );
    assert_eq!(
        said(decoder("dola", json!({ "layers": { "at": [2] } })), &toy, &seen),
        "contrasting-layers: layers = 2, of 2 blocks, but blocks, counted from 0, that the language model has"
    );
    assert_eq!(
        said(decoder("dola", json!({ "variant": "reference" })), opened("blip-a"), &shown("square", "a")),
        "contrasting-layers needs a subject that shows its head, for the reference, but this one does not"
    );
    let bert = opened("bert-a");
    assert_eq!(
        said(decoder("dola", json!({})), bert, &Sample::text("a [MASK]")),
        "contrasting-layers needs a subject that writes answers token by token, but this one says no next token"
    );
    assert_eq!(
        said(decoder("vcd", json!({})), opened("gpt2-a"), &Sample::text("a")),
        "visual-contrastive-decoding needs a subject that sees pictures or hears recordings, but this one takes words alone"
    );
    let captioned = shown("square", "a");
    assert_eq!(
        said(decoder("pai", json!({})), opened("blip-a"), &captioned),
        "pay-attention-to-image needs a subject whose words and patches attend to one another in one stream, but this one's words attend to \
         the patches from outside"
    );
    // A standing edit behind the last block: what an early state would be there, nobody can say.
    let edit = Alteration::new("text.final_norm", Region::all(), Change::Scale(2.0)).unwrap();
    let edited = Altered::new(opened("llava-a"), [edit]).unwrap();
    let refused = said(decoder("dola", json!({})), &edited, &shown("square", "<image>Red?"));
    assert!(refused.contains("stands between its last block and `text.logits`"), "{refused}");
    for (name, settings, wanted) in [
        (
            "vcd",
            json!({ "alpha": -1.0 }),
            "visual-contrastive-decoding: alpha = -1, but it must be at least 0",
        ),
        (
            "vcd",
            json!({ "beta": 1.5 }),
            "visual-contrastive-decoding: beta = 1.5, but it must be from 0 to 1",
        ),
        (
            "vcd",
            json!({ "noise": 1000 }),
            "visual-contrastive-decoding: noise = 1000, but steps are counted from 0 to 999",
        ),
        ("pai", json!({ "gamma": 0.5 }), "pay-attention-to-image: gamma = 0.5, but it must be at least 1"),
        (
            "dola",
            json!({ "layers": { "at": [] } }),
            "contrasting-layers: layers = none, but there must be one",
        ),
    ] {
        let row = DECODERS.iter().find(|row| row.card.short == name).unwrap();
        assert_eq!(row.make(settings).err().unwrap().to_string(), wanted);
    }
}

#[test]
fn which_layers_are_candidates() {
    // llava-a has three blocks: the first half is block 0, the second 1 and 2, every other.
    let subject = opened("llava-a");
    let inputs = subject.encode(&shown("square", "<image>Red?")).unwrap();
    let blocks =
        |settings: Value| decoder("dola", settings).contrast(subject, &inputs).unwrap().early.unwrap().blocks;
    assert_eq!(blocks(json!({})), [1]);
    assert_eq!(blocks(json!({ "layers": "low" })), [0]);
    assert_eq!(blocks(json!({ "layers": { "at": [2, 1, 2] } })), [1, 2]);
}

#[test]
fn cautions_come_where_they_should() {
    let toy = Toy::curved(2);
    let sample = Sample::prompt(vec![painted(3)], "#ab").answered(Reply::Text("cd".to_owned()));
    let run = |settings: vcd::Settings, subject: &dyn Subject| {
        kinds(&Vcd::new(settings).unwrap().run(subject, &Case::new(sample.clone())).unwrap())
    };
    assert_eq!(run(vcd::Settings::default(), &toy), []);
    // A model that does not see says the same of noise.
    let blind = Alteration::new("vision.pixels", Region::all(), Change::Scale(0.0)).unwrap();
    let blind = Altered::new(Toy::curved(2), [blind]).unwrap();
    assert_eq!(run(vcd::Settings::default(), &blind), [CautionKind::SmallDifference]);
    let sure = vcd::Settings { beta: 1.0, ..vcd::Settings::default() };
    assert_eq!(run(sure, &toy), [CautionKind::NothingMoved]);
    // Where no other branch is there, nothing differs.
    let alone = pai::Settings { from: 0, gamma: 1.0, ..pai::Settings::default() };
    let found = Pai::new(alone).unwrap().run(&toy, &Case::new(sample.clone())).unwrap();
    assert_eq!(kinds(&found), [CautionKind::SmallDifference]);
    let last = dola::Settings { layers: dola::Layers::At(vec![0]), ..dola::Settings::default() };
    let found = Dola::new(last).unwrap().run(&toy, &Case::new(sample)).unwrap();
    assert_eq!(kinds(&found), []);
}
