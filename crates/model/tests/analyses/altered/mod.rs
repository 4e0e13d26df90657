//! Under standing edits every method, sweep, resumption and answer is what plans with these edits give.

use std::num::NonZeroUsize;

use burn::tensor::Device;
use mmlens_core::finding::{Axis, Role, Tolerance};
use mmlens_core::{
    Alteration, Altered, AnyTensor, AxisName, Change, Content, Copies, Generation, Generator, Inputs, Memory,
    Objective, Part, Picture, Plan, Plans, Point, Region, Run, Sample, Site, Steps, Subject, SubjectError,
    Trace, Unwatched, Words,
};
use mmlens_engine::{Edit, Progress, Sweep};
use mmlens_testkit::{Toy, checkpoint, picture, subject_breaches};

use crate::support::{llava, painted, shown, site};

mod methods;
mod read_out;

const ROUNDING: Tolerance = Tolerance::either(2e-6, 1e-5);

fn edits(texts: &[&str]) -> Vec<Alteration> {
    texts.iter().map(|text| Alteration::parse(text).unwrap()).collect()
}

fn under<'a>(subject: &'a dyn Subject, texts: &[&str]) -> Altered<&'a dyn Subject> {
    Altered::new(subject, edits(texts)).unwrap()
}

/// The same edits in a plan.
fn planned(edits: &[Alteration]) -> Plan {
    edits.iter().fold(Plan::new(), |plan, edit| {
        plan.change(edit.places().clone(), edit.region().clone(), edit.change().clone()).unwrap()
    })
}

fn direction(width: usize) -> AnyTensor {
    let values = (0..width).map(|i| (i as f32 * 1.7).sin()).collect();
    AnyTensor::from_values(values, &[1, 1, width], &Device::default()).unwrap()
}

type Trial = (Box<dyn Subject>, Vec<Sample>, Vec<Alteration>);

/// Subjects, inputs, and what can be done to them.
fn cases() -> Vec<Trial> {
    let with = |texts: &[&str], site: &str, width: usize| {
        let mut own = edits(texts);
        own.push(Alteration::new(site, Region::all(), Change::Add(direction(width))).unwrap());
        own
    };
    let open = |name: &str| mmlens_zoo::open(checkpoint(name), &Device::default()).unwrap();
    let toy = |pictures: &[u32], words: &str| {
        Sample::prompt(pictures.iter().map(|seed| painted(*seed)).collect(), words)
    };
    let eye = "<|vision_start|><|image_pad|><|vision_end|>Red?";
    let of = |pictures: &[&str], words: Words| {
        let pictures = pictures.iter().map(|name| Picture::open(picture(name)).unwrap()).collect();
        Sample::new(pictures, words)
    };
    let prompt = |text: &str| Words::Prompt(text.to_owned());
    vec![
        (
            Box::new(Toy::curved(3)),
            vec![toy(&[1], "#what"), toy(&[1, 2], "a#b#c")],
            with(
                &[
                    "vision.pixels[image=0,height=0..3]=zero",
                    "text.input[pos=2]=scale:-1",
                    "text.blocks.0.resid_pre=scale:0.7",
                    "text.blocks.*.attn.z[head=1]=scale:-0.5",
                    "text.blocks.1.resid_pre[d_model=1,2]=scale:2",
                    "text.blocks.1.attn.q_in[head=0]=scale:0.5",
                    "text.blocks.1.attn.scores[query=3,key=0,1]=scale:3",
                    "text.blocks.1.mlp.post[neuron=2,pos=1..4]=zero",
                    "text.logits[vocab=3]=scale:2",
                ],
                "text.blocks.0.resid_post",
                6,
            ),
        ),
        (
            Box::new(Toy::curved(5)),
            vec![toy(&[1, 2], "a#b#c")],
            edits(&["vision.pixels=mean", "connector.out[image=1]=zero", "text.blocks.0.mlp_out=mean"]),
        ),
        (
            open("llava-a"),
            vec![shown(&["square"], "<image>Red?"), shown(&["wide", "tall"], "<image>and<image>")],
            with(
                &[
                    "vision.blocks.1.resid_pre=scale:0.8",
                    "vision.blocks.0.attn.z[head=2]=zero",
                    "connector.out[image=0]=scale:0.5",
                    "text.blocks.0.resid_pre=scale:1.5",
                    "text.blocks.1.attn.k[head=1]=scale:2",
                    "text.blocks.1.resid_mid[pos=4]=zero",
                    "text.blocks.2.attn.pattern[query=5,head=2]=scale:0.5",
                    "text.final_norm=scale:0.9",
                ],
                "text.blocks.1.resid_post",
                24,
            ),
        ),
        (
            open("llava-b"),
            vec![shown(&["square"], "<image>Red?")],
            edits(&["vision.blocks.*.mlp_out[pos=0..3]=mean", "text.blocks.1.mlp_out=mean"]),
        ),
        (
            open("gpt2-a"),
            vec![of(&[], prompt("Hello you, is it red?"))],
            edits(&[
                "text.blocks.0.attn.z[head=0]=zero",
                "text.blocks.1.resid_pre[pos=3]=scale:2",
                "text.blocks.1.attn.v[pos=1]=zero",
            ]),
        ),
        (
            open("qwen3-vl-a"),
            vec![of(&["tiny"], prompt(eye))],
            edits(&[
                "vision.blocks.0.mlp_out=scale:0.5",
                "vision.blocks.1.resid_pre[d_model=2]=zero",
                "connector.blocks.0.deepstack=scale:2",
                "text.blocks.0.deepstack=scale:-1",
                "text.blocks.1.attn.z[head=1]=zero",
            ]),
        ),
        (
            open("blip-qa"),
            vec![of(&["square"], Words::Question("How many green squares?".to_owned()))],
            edits(&[
                "vision.blocks.0.mlp_out=scale:0.5",
                "encoder.blocks.0.attn.z[head=1,pos=2]=zero",
                "encoder.blocks.1.cross_out=scale:2",
                "text.blocks.0.mlp.post[neuron=1]=zero",
                "text.blocks.1.cross.z[head=0]=zero",
            ]),
        ),
        (
            open("clip-a"),
            vec![of(&["square"], Words::Texts(vec!["a red circle".to_owned(), "ring".to_owned()]))],
            edits(&[
                "vision.blocks.1.attn.z[head=0]=zero",
                "text.blocks.0.mlp_out[pos=1]=scale:3",
                "text.projected=scale:-1",
            ]),
        ),
        (
            open("bert-a"),
            vec![of(&[], prompt("a [MASK] circle"))],
            edits(&["text.blocks.0.attn.z[head=0]=zero", "text.blocks.1.normalized_resid_mid=scale:1.1"]),
        ),
        (
            open("vit-a"),
            vec![of(&["square"], Words::Nothing)],
            edits(&[
                "vision.blocks.0.resid_post[pos=0]=scale:0.5",
                "vision.blocks.1.mlp.post[neuron=3]=zero",
            ]),
        ),
    ]
}

/// Sites that a pass comes to.
fn reached(subject: &dyn Subject, inputs: &Inputs) -> Vec<Site> {
    let shown =
        |site: &Site| inputs.seen.values.is_some() || !matches!(site.part(), Part::Vision | Part::Connector);
    let said = |site: &Site| subject.run(inputs, Plan::new().read(*site).unwrap()).is_ok();
    subject.sites().iter().map(|spec| spec.site).filter(shown).filter(said).collect()
}

#[test]
fn at_every_site_and_gradient_it_is_a_plan_with_these_edits() {
    for (subject, samples, edits) in cases() {
        let subject = subject.as_ref();
        let altered = Altered::new(subject, edits.clone()).unwrap();
        for sample in samples {
            let inputs = subject.encode(&sample).unwrap().all_logits();
            let sites = reached(subject, &inputs);
            let says = sites.contains(&Site::of(Part::Text, Point::Logits));
            let mut reading = Plan::new().to_output();
            for site in &sites {
                reading = reading.read(*site).unwrap();
                if says && inputs.rows() == 1 && site.point() != Point::Logits && site.part() != Part::Vision
                {
                    reading = reading.grad(*site).unwrap();
                }
            }
            if says && inputs.rows() == 1 {
                reading = reading.objective(Objective::log_probability(3));
            }
            let both = |plan: Plan| -> Result<Trace, SubjectError> { subject.run(&inputs, plan) };
            let found = altered.run(&inputs, reading.clone());
            let wanted = both(joined(&edits, &sites, reading.clone()));
            let (found, wanted) = match (found, wanted) {
                // No gradient comes to what the objective does not depend on: both say so.
                (Err(found), Err(wanted)) => {
                    assert_eq!(found, wanted);
                    let bare = |plan: Plan| {
                        sites.iter().fold(plan, |plan, site| plan.read(*site).unwrap()).to_output()
                    };
                    let read = bare(Plan::new());
                    (altered.run(&inputs, read.clone()).unwrap(), both(joined(&edits, &sites, read)).unwrap())
                }
                (found, wanted) => (found.unwrap(), wanted.unwrap()),
            };
            assert!(sites.len() > 10 && found.values().count() == sites.len());
            let values = |x: &AnyTensor| x.to_values().unwrap();
            // A mean is added up in another order.
            let loose = Tolerance::either(1e-5, 1e-5);
            for (site, value) in found.values() {
                let what = format!("{} {site}", subject.name());
                let wanted = wanted.get(site).unwrap();
                match edits.iter().any(|edit| matches!(edit.change(), Change::Mean)) {
                    true => drop(loose.check(&what, &values(value), &values(wanted)).unwrap()),
                    false => assert_eq!(values(value), values(wanted), "{what}"),
                }
            }
            for (site, slope) in found.grads() {
                let what = format!("gradient at {} {site}", subject.name());
                loose.check(&what, &values(slope), &values(wanted.grad(site).unwrap())).unwrap();
            }
            let plain = subject.run(&inputs, Plan::new()).unwrap();
            let say = |trace: &Trace| {
                let output = trace.output();
                let all = output.logits.clone().or(output.pairs.as_ref().map(|pairs| pairs.logits.clone()));
                all.unwrap().to_values().unwrap()
            };
            assert_eq!(say(&altered.run(&inputs, Plan::new()).unwrap()).len(), say(&plain).len());
            assert_ne!(say(&found), say(&plain), "{}: the edits do something", subject.name());
        }
    }
}

/// The edits before a plan's own, those that the pass comes to.
fn joined(edits: &[Alteration], sites: &[Site], plan: Plan) -> Plan {
    let reached = |edit: &&Alteration| sites.iter().any(|site| edit.places().matches(site));
    let own: Vec<Alteration> = edits.iter().filter(reached).cloned().collect();
    merge(planned(&own), plan)
}

/// Two plans in one: edits of the first come first.
fn merge(first: Plan, second: Plan) -> Plan {
    Plans::new().during(Steps::Every, first).during(Steps::Every, second).at(0).unwrap()
}

#[test]
fn an_altered_subject_keeps_the_contract_of_subjects() {
    for (subject, samples, edits) in cases() {
        let altered = Altered::new(subject.as_ref(), edits).unwrap();
        let inputs: Vec<Inputs> = samples.iter().map(|sample| altered.encode(sample).unwrap()).collect();
        for inputs in &inputs {
            let breaches = subject_breaches(&altered, inputs);
            assert!(breaches.is_empty(), "{altered:?}:\n{}", breaches.join("\n"));
        }
    }
}

/// Rows of a padded batch are what they are alone: positions, pictures and means are those of each row.
#[test]
fn a_batch_is_its_rows() {
    let toy = Toy::curved(8);
    let texts = [
        "vision.pixels[image=1]=mean",
        "connector.out[image=0]=scale:2",
        "text.input[pos=1,2]=scale:-1",
        "text.blocks.0.mlp_out=mean",
        "text.blocks.1.attn.scores[query=3,key=1]=scale:4",
        "text.blocks.1.mlp_out[pos=4]=mean",
    ];
    let altered = under(&toy, &texts);
    let of = |pictures: &[u32], words: &str| {
        let sample = Sample::prompt(pictures.iter().map(|seed| painted(*seed)).collect(), words);
        toy.encode(&sample).unwrap()
    };
    let singles = [of(&[1, 2], "a#b#c"), of(&[3, 4], "#x#"), of(&[5, 6], "abcdef##g")];
    let batch = Inputs::batch(&singles, 0).unwrap();
    let say = |inputs: &Inputs| {
        altered.run(inputs, Plan::new()).unwrap().output().logits.clone().unwrap().to_values().unwrap()
    };
    let each: Vec<f32> = singles.iter().flat_map(say).collect();
    ROUNDING.check("batch", &say(&batch), &each).unwrap();
    let plain: Vec<f32> = singles
        .iter()
        .flat_map(|one| {
            toy.run(one, Plan::new()).unwrap().output().logits.clone().unwrap().to_values().unwrap()
        })
        .collect();
    assert!(ROUNDING.check("edits do something", &each, &plain).is_err());
    let one = of(&[7], "#ab");
    let said = altered.run(&one, Plan::new()).unwrap_err().to_string();
    assert_eq!(said, "`vision.pixels[image=1]=mean` cannot stand: it names picture 1, and rows show 1");
}

/// Packed and shared, from states and from some positions alone, against one complete pass of a plan for each variant.
#[test]
fn sweeps_under_edits_are_unshared_runs() {
    let all = cases();
    let extra = ["llama-a", "mistral-a", "gemma2-a"].map(|name| {
        let subject = mmlens_zoo::open(checkpoint(name), &Device::default()).unwrap();
        let standing = edits(&[
            "text.blocks.0.resid_pre[pos=2,5]=scale:2",
            "text.blocks.1.resid_pre=scale:0.5",
            "text.blocks.1.attn.k[pos=1]=scale:3",
            "text.blocks.1.attn.scores[query=6,key=0..3]=scale:2",
            "text.blocks.0.mlp.post[neuron=1]=zero",
        ]);
        (subject, vec![Sample::prompt(Vec::new(), "Is it red or not?")], standing)
    });
    let mut late = 0;
    for (subject, samples, standing) in all.into_iter().chain(extra) {
        let subject = subject.as_ref();
        let altered = Altered::new(subject, standing.clone()).unwrap();
        let inputs = subject.encode(&samples[0]).unwrap();
        let says = subject.sites().iter().any(|spec| spec.site == Site::of(Part::Text, Point::Logits));
        if inputs.rows() != 1 {
            continue;
        }
        let objective = if says { Objective::logit_difference(3, 1) } else { Objective::logit(1) };
        let sites = reached(subject, &inputs);
        let apart = subject.anatomy().iter().any(|anatomy| anatomy.part == Part::Encoder);
        let mut variants: Vec<(Site, Region, Change)> = Vec::new();
        for place in ["text.embed", "text.input", "text.final_norm", "connector.out", "vision.embed"] {
            if sites.contains(&site(place)) {
                let at = usize::from(!apart || !place.starts_with("text"));
                variants.push((site(place), Region::all().positions([at]), Change::Scale(-0.5)));
            }
        }
        for anatomy in subject.anatomy() {
            for block in 0..anatomy.blocks {
                for (point, axis) in [
                    (Point::ResidPre, AxisName::Pos),
                    (Point::Z, AxisName::Head),
                    (Point::MlpPost, AxisName::Neuron),
                    (Point::MlpOut, AxisName::Pos),
                ] {
                    let place = Site::block(anatomy.part, block, point);
                    // Behind an encoder of the question the language model has the answer alone, one position so far.
                    let at = match (anatomy.part, axis, apart) {
                        (Part::Text, AxisName::Pos, true) => 0,
                        (Part::Text, AxisName::Pos, false) => inputs.positions() - 1,
                        _ => 1,
                    };
                    let region = Region::all().of(axis, [at]);
                    if sites.contains(&place) {
                        variants.push((place, region, Change::Scale(-0.5)));
                    }
                }
            }
        }
        late += usize::from(altered.resumes_from_suffix());
        let edited = |(place, region, change): &(Site, Region, Change)| {
            vec![Edit::new(*place, change.clone()).within(region.clone())]
        };
        let axes = vec![Axis::count(Role::Sample, variants.len())];
        let sweep = Sweep::of(axes, variants.iter().map(edited).collect()).unwrap().measure(&objective);
        let memory = Memory::default().at_most(NonZeroUsize::new(5).unwrap());
        let mut progress = Progress::new(&Unwatched, "sweep", sweep.len());
        let found = sweep.run(&altered, &inputs, &memory, &mut progress).unwrap();
        let alone = |own: Plan| {
            let plan = joined(&standing, &sites, own.objective(&objective));
            subject.run(&inputs, plan).unwrap().scores().unwrap()[0]
        };
        let loose = Tolerance::either(1e-5, 1e-5);
        let name = subject.name();
        loose
            .check(&format!("{name} unedited"), &[found.measured[0].unedited], &[alone(Plan::new())])
            .unwrap();
        for (v, (place, region, change)) in variants.iter().enumerate() {
            let plan = Plan::new().change(*place, region.clone(), change.clone()).unwrap();
            let what = format!("{name} {place} {region:?}");
            loose.check(&what, &found.measured[0].values[v..=v], &[alone(plan)]).unwrap();
        }
    }
    assert!(late >= 4, "{late} of them went on from some positions alone");
}

/// An answer is what full passes over prompt and answer give, step by step, with the edits in their plans.
#[test]
fn answers_have_the_edits_at_every_step() {
    for name in ["llama-a", "gemma2-a", "llava-a"] {
        let subject = mmlens_zoo::open(checkpoint(name), &Device::default()).unwrap();
        let subject = subject.as_ref();
        let prompt = if name == "llava-a" {
            shown(&["square"], "<image>Red?")
        } else {
            Sample::prompt(Vec::new(), "Is it red?")
        };
        let inputs = subject.encode(&prompt).unwrap();
        let texts = [
            "text.blocks.0.attn.z[head=1]=zero",
            "text.blocks.1.resid_mid=scale:1.7",
            "text.blocks.0.mlp_out[pos=1,2]=scale:-3",
            "text.blocks.1.attn.scores[key=1]=scale:2",
        ];
        let altered = under(subject, &texts);
        let how = Generation { max_new: 6, stop_at_end: false, ..Generation::default() };
        let plans = Plans::new().during(Steps::At(vec![2]), Plan::new().read("text.logits").unwrap());
        let (rows, traces) = Generator::new(&how).plans(&plans).write(&altered, &inputs).unwrap();
        assert_eq!(traces.keys().copied().collect::<Vec<_>>(), [2], "{name}");
        assert_eq!(altered.generate(&inputs, &how).unwrap(), rows);
        let mut longer = inputs.clone().last_logits();
        for (step, token) in rows[0].tokens.iter().enumerate() {
            let trace = subject.run(&longer, planned(&edits(&texts))).unwrap();
            let logits = trace.output().logits.clone().unwrap().to_values().unwrap();
            let top = mmlens_core::finding::top(&logits).unwrap().unwrap() as u32;
            assert_eq!(top, *token, "{name}, step {step}");
            let total: f64 = logits.iter().map(|l| f64::from(*l).exp()).sum();
            let share = (f64::from(logits[top as usize]).exp() / total) as f32;
            ROUNDING.check("probability", &[rows[0].probabilities[step]], &[share]).unwrap();
            longer = longer.with(|batch| batch.ids[0].push(*token)).unwrap();
        }
        assert_ne!(subject.generate(&inputs, &how).unwrap()[0].probabilities, rows[0].probabilities);
        // An answer has positions that neither a mean over the prompt nor a value for it speaks of.
        let refused = |edit: Alteration| {
            Altered::new(subject, [edit]).unwrap().generate(&inputs, &how).unwrap_err().to_string()
        };
        assert_eq!(
            refused(Alteration::parse("text.blocks.1.mlp_out=mean").unwrap()),
            "`text.blocks.1.mlp_out=mean` cannot stand: it looks at all positions, and the pass computes some of them"
        );
        let trace = subject.run(&inputs, Plan::new().read("text.blocks.1.mlp_out").unwrap()).unwrap();
        let value = trace.get(site("text.blocks.1.mlp_out")).unwrap().clone();
        let n = inputs.positions();
        let set = |region: Region| {
            Alteration::new("text.blocks.1.mlp_out", region, Change::Set(value.clone())).unwrap()
        };
        let said = refused(set(Region::all()));
        let why = format!(
            "its value has {n} positions, and an answer has others: name those that it is for (`pos=0..{n}`)"
        );
        assert!(said.ends_with(&why), "{said}");
        // Its own values change nothing.
        let own = Altered::new(subject, [set(Region::all().positions(0..n))]).unwrap();
        assert_eq!(
            own.generate(&inputs, &how).unwrap()[0].tokens,
            subject.generate(&inputs, &how).unwrap()[0].tokens
        );
    }
}

/// What a pass takes is that of a plan with the edits, and a pass that reads something early is not made longer.
#[test]
fn memory_is_told_with_the_edits() {
    let subject = llava("llava-a");
    let inputs = subject.encode(&shown(&["square"], "<image>Red?")).unwrap();
    let texts = ["text.blocks.1.attn.scores=scale:2", "text.blocks.1.attn.q_in[head=0]=zero"];
    let altered = under(subject, &texts);
    for copies in [Copies::ONE, Copies::rows(7)] {
        let need = |subject: &dyn Subject, plan: &Plan| subject.need(&inputs, plan, copies).unwrap();
        let wanted = need(subject, &planned(&edits(&texts)));
        assert_eq!(need(&altered, &Plan::new()), wanted);
        assert!(wanted.bytes > need(subject, &Plan::new()).bytes);
        let early = Plan::new().read("text.blocks.0.mlp_out").unwrap();
        assert_eq!(need(&altered, &early), need(subject, &early));
    }
}

/// A value for every picture stands for those of every row, and a value for what positions carry for each of them.
#[test]
fn values_are_those_of_their_pictures_and_contents() {
    let toy = Toy::curved(10);
    let inputs = toy.encode(&Sample::prompt(vec![painted(1), painted(2)], "a#b#c")).unwrap();
    let out = site("connector.out");
    let other = toy.encode(&Sample::prompt(vec![painted(3), painted(4)], "a#b#c")).unwrap();
    let value = toy.run(&other, Plan::new().read(out).unwrap()).unwrap().get(out).unwrap().clone();
    let given = [(Content::Words, direction(6)), (Content::Picture, direction(6))].into();
    let standing = vec![
        Alteration::new(out, Region::all(), Change::Set(value)).unwrap(),
        Alteration::new("text.blocks.0.mlp_out", Region::all().positions([0, 3]), Change::Fill(given))
            .unwrap(),
    ];
    let altered = Altered::new(&toy, standing.clone()).unwrap();
    let say = |subject: &dyn Subject, inputs: &Inputs, plan: Plan| {
        subject.run(inputs, plan).unwrap().output().logits.clone().unwrap().to_values().unwrap()
    };
    let one = say(&toy, &inputs, planned(&standing));
    assert_eq!(say(&altered, &inputs, Plan::new()), one);
    let three = [one.clone(), one.clone(), one].concat();
    ROUNDING.check("shared", &say(&altered, &inputs.repeat(3), Plan::new()), &three).unwrap();
    let apart = inputs.repeat_entries(3).unwrap();
    ROUNDING.check("own", &say(&altered, &apart, Plan::new()), &three).unwrap();
    let single = toy.encode(&Sample::prompt(vec![painted(1)], "a#b")).unwrap();
    assert!(say(&altered, &single, Plan::new()).len() > 1, "one picture has the first of the values");
    // By hand, in a run that was begun without them.
    let mut run = Run::start(Plan::new(), toy.name(), toy.sites()).unwrap();
    let output = altered.forward(&inputs, &mut run).unwrap();
    assert_eq!(output.logits.unwrap().to_values().unwrap(), say(&altered, &inputs, Plan::new()));
}

/// To a tower that packs pictures, positions are those of all of them: what names some of them has no meaning in rows that show others.
#[test]
fn positions_of_packed_pictures_are_those_of_one_sample() {
    let subject = mmlens_zoo::open(checkpoint("qwen3-vl-a"), &Device::default()).unwrap();
    let words = "<|vision_start|><|image_pad|><|vision_end|>Red?";
    let inputs =
        subject.encode(&Sample::prompt(vec![Picture::open(picture("tiny")).unwrap()], words)).unwrap();
    let altered = under(subject.as_ref(), &["vision.blocks.1.resid_pre[pos=2]=zero"]);
    let breaches = subject_breaches(&altered, &inputs);
    let said = "`vision.blocks.1.resid_pre[pos=2]=zero` cannot stand: the tower takes all pictures as one sequence, and the \
                rows of this batch show different ones";
    assert_eq!(breaches, [format!("rows: {said}"), format!("sites as objectives: `vision.pixels`: {said}")]);
}
