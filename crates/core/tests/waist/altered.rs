//! Edits that stand, on the toy that can be reckoned by hand; what they refuse, and how they are written.

use std::sync::Arc;

use mmlens_core::*;

use crate::toy::{Fault, Toy, device};

fn toy() -> Toy {
    Toy::new(Fault::None)
}

fn site(text: &str) -> Site {
    text.parse().unwrap()
}

fn tensor(values: &[f32], dims: &[usize]) -> AnyTensor {
    AnyTensor::from_values(values.to_vec(), dims, &device()).unwrap()
}

fn edit(text: &str) -> Alteration {
    Alteration::parse(text).unwrap()
}

fn altered(edits: &[&str]) -> Altered<Toy> {
    Altered::new(toy(), edits.iter().map(|text| edit(text))).unwrap()
}

fn read(subject: &dyn Subject, inputs: &Inputs, at: &str, plan: Plan) -> Vec<f32> {
    let trace = subject.run(inputs, plan.read(at).unwrap()).unwrap();
    trace.get(site(at)).unwrap().to_values().unwrap()
}

fn refused(edits: &[Alteration], plan: Plan) -> String {
    match Altered::new(toy(), edits.to_vec()) {
        Ok(subject) => subject.run(&Toy::inputs(&[[1, 2]]), plan).unwrap_err().to_string(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn inner_edits_come_first_then_these_then_those_of_a_plan() {
    let inputs = Toy::inputs(&[[1, 2]]);
    let one = || Alteration::new("text.input", Region::all(), Change::Add(tensor(&[1.0], &[1, 1, 1])));
    let inner = Altered::new(toy(), [edit("text.input=scale:10"), one().unwrap()]).unwrap();
    // (1 2 3; 2 3 4) * 10 + 1
    assert_eq!(read(&inner, &inputs, "text.input", Plan::new()), [11.0, 21.0, 31.0, 21.0, 31.0, 41.0]);
    let outer = Altered::new(inner, [edit("text.input=scale:2")]).unwrap();
    let plan =
        Plan::new().change("text.input", Region::all(), Change::Add(tensor(&[-2.0], &[1, 1, 1]))).unwrap();
    // that * 2 - 2
    assert_eq!(read(&outer, &inputs, "text.input", plan), [20.0, 40.0, 60.0, 40.0, 60.0, 80.0]);
    let sum = "text.input=add:[1, 1, 1] sha256 "; // of the bytes 00 00 80 3f
    let [first, second, third] = outer.alterations() else { panic!("{:?}", outer.alterations()) };
    assert_eq!((first.as_str(), third.as_str()), ("text.input=scale:10", "text.input=scale:2"));
    assert_eq!(*second, format!("{sum}{}", &hashed(1.0)));
    assert_eq!(outer.edited(), [site("text.input")]);
    assert_eq!((outer.name(), outer.weights_hash()), ("toy", "none".to_owned()));
}

/// The first digits of the hash of one number.
fn hashed(value: f32) -> String {
    mmlens_files::sha256(value.to_le_bytes()).chars().take(12).collect()
}

/// The state holds what was edited at its site: a factor of 2 there comes once.
#[test]
fn a_state_holds_the_edits_at_its_own_site() {
    let inputs = Toy::inputs(&[[1, 2]]);
    let subject = altered(&[
        "text.blocks.0.mlp_out=scale:3",
        "text.blocks.1.resid_pre=scale:2",
        "text.blocks.1.mlp_out=scale:5",
    ]);
    let plan = Plan::new().read("text.blocks.1.resid_pre").unwrap().to_output();
    let whole = subject.run(&inputs, plan).unwrap();
    let state = whole.state(Part::Text, 1).unwrap();
    let again = subject.run(&inputs, Plan::new().resume(state.clone())).unwrap();
    let logits = |trace: &Trace| trace.output().logits.clone().unwrap().to_values().unwrap();
    assert_eq!(logits(&again), logits(&whole));
    let bare = toy().run(&inputs, Plan::new().resume(state)).unwrap();
    assert_ne!(logits(&bare), logits(&whole), "the edit behind the state is made");
}

#[test]
fn nobody_waits_for_an_edit_that_stands() {
    let (inputs, subject) =
        (Toy::inputs(&[[1, 2]]), altered(&["text.blocks.1.mlp_out=zero", "text.logits=scale:2"]));
    let trace = subject.run(&inputs, Plan::new().read("text.blocks.0.mlp_out").unwrap()).unwrap();
    assert!(trace.output().logits.is_none(), "nothing later was wanted, so the pass ended");
}

#[test]
fn rows_do_not_mix() {
    let name = "halves what is above the mean of a row";
    let halve = |x: AnyTensor| {
        assert_eq!(x.dims()[0], 1);
        let (dims, values) = (x.dims(), x.to_values()?);
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        AnyTensor::from_values(
            values.iter().map(|v| if *v > mean { v / 2.0 } else { *v }).collect(),
            &dims,
            &device(),
        )
    };
    let edits = || {
        let closure = Alteration::named("text.blocks.0.mlp_out", Region::all(), name, halve).unwrap();
        [edit("text.input[d_model=0,2]=mean"), closure]
    };
    let subject = Altered::new(toy(), edits()).unwrap();
    assert_eq!(subject.alterations()[1], format!("text.blocks.0.mlp_out={name}"));
    let rows = [[1, 2], [3, 8]];
    let each: Vec<f32> = rows
        .iter()
        .flat_map(|row| read(&subject, &Toy::inputs(&[*row]), "text.blocks.1.resid_post", Plan::new()))
        .collect();
    assert_eq!(read(&subject, &Toy::inputs(&rows), "text.blocks.1.resid_post", Plan::new()), each);
    // Words of ids 3 and 8 have mean 5.5; coordinates 0 and 2 add 0 and 2; coordinate 1 stays.
    let entered = read(&subject, &Toy::inputs(&rows), "text.input", Plan::new());
    assert_eq!(entered[6..], [5.5, 4.0, 7.5, 5.5, 9.0, 7.5]);
}

/// Positions are those of the prompt, wherever padding puts them.
#[test]
fn positions_are_counted_without_padding() {
    let subject = altered(&["text.input[pos=0]=zero"]);
    let inputs = Toy::inputs(&[[1, 2], [0, 5]]).with(|batch| batch.pads = vec![0, 1]).unwrap();
    let entered = read(&subject, &inputs, "text.input", Plan::new());
    assert_eq!(entered, [0.0, 0.0, 0.0, 2.0, 3.0, 4.0, 0.0, 1.0, 2.0, 0.0, 0.0, 0.0]);
    let inputs = inputs.with(|batch| batch.pads = vec![0, 0]).unwrap();
    let entered = read(&subject, &inputs, "text.input", Plan::new());
    assert_eq!(entered, [0.0, 0.0, 0.0, 2.0, 3.0, 4.0, 0.0, 0.0, 0.0, 5.0, 6.0, 7.0]);
    // Of the logits the last position alone is there, unless all are asked for.
    let last = altered(&["text.logits[pos=0]=zero"]);
    let all = Toy::inputs(&[[1, 2]]).all_logits();
    let logits = |subject: &dyn Subject, inputs: &Inputs| read(subject, inputs, "text.logits", Plan::new());
    let plain = logits(&toy(), &all);
    assert_eq!(logits(&last, &Toy::inputs(&[[1, 2]])), plain[3..]);
    assert_eq!(logits(&last, &all), [&[0.0; 3], &plain[3..]].concat());
}

#[test]
fn what_leads_to_a_subject_is_one() {
    let made = || altered(&["text.input=scale:2"]);
    let held: [Box<dyn Subject>; 4] =
        [Box::new(made()), Box::new(Box::new(made()) as Box<dyn Subject>), Box::new(Arc::new(made())), {
            let leaked: &'static Altered<Toy> = Box::leak(Box::new(made()));
            Box::new(leaked)
        }];
    let inputs = Toy::inputs(&[[1, 2]]);
    for subject in &held {
        assert_eq!(subject.alterations(), made().alterations());
        assert_eq!(subject.edited(), made().edited());
        assert_eq!(subject.sites(), made().sites());
        assert_eq!(
            read(subject, &inputs, "text.logits", Plan::new()),
            read(&made(), &inputs, "text.logits", Plan::new())
        );
        // A subject of a subject, by value.
        let again = Altered::new(subject, [edit("text.input=zero")]).unwrap();
        assert_eq!(again.alterations(), ["text.input=scale:2", "text.input=zero"]);
    }
}

#[test]
fn what_cannot_stand_is_refused() {
    let new = |places: &str, region: Region, change| Alteration::new(places, region, change);
    let closure = new("text.input", Region::all().positions([1]), Change::With(Arc::new(Ok)));
    assert_eq!(
        closure.unwrap_err().to_string(),
        "`text.input[pos=1]=closure` cannot stand: a closure needs a name, by which findings tell it (`Alteration::named`)"
    );
    let said = |text: &str| refused(&[edit(text)], Plan::new());
    assert_eq!(
        said("text.blocks.7.mlp_out=zero"),
        "`toy` has no site `text.blocks.7.mlp_out` (did you mean `text.blocks.1.mlp_out`?)"
    );
    assert_eq!(
        said("text.input[head=0]=zero"),
        "`text.input` has axes [batch, pos, d_model=3]; it has no `head` to choose from"
    );
    assert_eq!(said("text.input[d_model=3]=zero"), "`text.input`: d_model 3 is out of range, there are 3");
    assert_eq!(
        said("text.input[batch=0]=zero"),
        "`text.input[batch=0]=zero` cannot stand: it is made in every row, and cannot name rows of a batch"
    );
    assert_eq!(
        said("text.input[pos=1,2]=zero"),
        "`text.input[pos=1,2]=zero` cannot stand: it names position 2, and row 0 has 2"
    );
    assert_eq!(
        said("text.blocks.0.attn.pattern=mean"),
        "`text.blocks.0.attn.pattern` has axes [batch, head=1, query, key]: there are no positions to take a mean over"
    );
    let several = |dims: &[usize]| {
        let value = tensor(&vec![0.0; dims.iter().product()], dims);
        refused(&[new("text.input", Region::all(), Change::Set(value)).unwrap()], Plan::new())
    };
    for dims in [[2, 1, 1], [1, 1, 2]] {
        let said = several(&dims);
        let fits = format!(
            "cannot stand: a value of shape {dims:?} fits no `[batch, pos, d_model=3]` of every row \
             (each length must be equal or 1, and 1 for the batch)"
        );
        assert!(said.starts_with("`text.input=set:") && said.ends_with(&fits), "{said}");
    }
    assert_eq!(
        several(&[1, 5, 3]),
        "`text.input` has shape [1, 2, 3]; a value of shape [1, 5, 3] cannot be set there (each length must be equal or 1)"
    );
    let padded = Toy::inputs(&[[0, 2]]).with(|batch| batch.pads = vec![1]).unwrap();
    let value = new("text.input", Region::all(), Change::Set(tensor(&[0.0; 6], &[1, 2, 3]))).unwrap();
    let said = Altered::new(toy(), [value]).unwrap().run(&padded, Plan::new()).unwrap_err().to_string();
    assert!(
        said.ends_with("its value has 2 positions, and the rows of this batch begin with padding"),
        "{said}"
    );
    // Of the last position alone a mean cannot be told.
    let hidden = tensor(&[0.0; 3], &[1, 1, 3]);
    let known = vec![(tensor(&[0.0; 3], &[1, 1, 1, 3]), tensor(&[0.0; 3], &[1, 1, 1, 3]))];
    let behind = Plan::new().resume_behind(State { site: site("text.blocks.1.resid_pre"), hidden }, known);
    assert_eq!(
        refused(&[edit("text.blocks.1.mlp_out=mean")], behind),
        "`text.blocks.1.mlp_out=mean` cannot stand: it looks at all positions, and the pass computes some of them"
    );
}

/// A pass of everything from block 1 on, for the last position: what is said of the first, the state holds.
#[test]
fn of_some_positions_an_edit_has_its_own() {
    let hidden = tensor(&[1.0, 2.0, 3.0], &[1, 1, 3]);
    let known = vec![(tensor(&[0.0; 3], &[1, 1, 1, 3]), tensor(&[0.0; 3], &[1, 1, 1, 3]))];
    let behind = || {
        Plan::new().resume_behind(
            State { site: site("text.blocks.1.resid_pre"), hidden: hidden.clone() },
            known.clone(),
        )
    };
    let inputs = Toy::inputs(&[[1, 2]]);
    let of = |subject: &dyn Subject| read(subject, &inputs, "text.blocks.1.mlp_out", behind());
    let plain = of(&toy());
    assert_eq!(of(&altered(&["text.blocks.1.mlp_out[pos=0]=zero"])), plain);
    assert_eq!(of(&altered(&["text.blocks.1.mlp_out[pos=0,1]=zero"])), [0.0; 3]);
    let value = tensor(&[9.0, 9.0, 9.0, 4.0, 5.0, 6.0], &[1, 2, 3]);
    let set = Alteration::new("text.blocks.1.mlp_out", Region::all(), Change::Set(value)).unwrap();
    assert_eq!(of(&Altered::new(toy(), [set]).unwrap()), [4.0, 5.0, 6.0]);
}

fn faulty(text: &str) -> String {
    Alteration::parse(text).unwrap_err().to_string()
}

#[test]
fn edits_are_read_as_they_are_written() {
    for text in [
        "text.blocks.2.attn.z[head=1]=zero",
        "vision.pixels=mean",
        "text.blocks.*.attn.{q,k}[pos=0,1,head=2..5]=scale:-0.5",
        "text.blocks.0..3.mlp.post[neuron=7]=zero",
    ] {
        assert_eq!(edit(text).to_string(), text);
    }
    let parsed = edit("text.input[pos=4,1,2,3,d_model=0..1]=zero");
    let wanted = Region::all().positions([4, 1, 2, 3]).of(AxisName::DModel, [0]);
    assert_eq!(*parsed.region(), wanted);
    assert_eq!(parsed.to_string(), "text.input[pos=4,1..4,d_model=0]=zero");
}

#[test]
fn what_cannot_be_read_is_pointed_at() {
    for (text, said) in [
        (
            "text.input",
            "at `text.input` (character 1): an edit is SITE=CHANGE or SITE[AXIS=INDICES,...]=CHANGE",
        ),
        (
            "text.blocks.2.attn.zz[head=1]=zero",
            "at `text.blocks.2.attn.zz` (character 1): `text.blocks.2.attn.zz` is not a site or selector: \
             `attn.zz` is no point (did you mean `attn.z`?)",
        ),
        (
            "text.blocks.2.attn.z[haed=1]=zero",
            "at `haed` (character 22): no axis is called so (did you mean `head`?); axes are batch, image, clip, pos, \
             channel, height, width, mel, frame, head, d_head, d_model, query, key, neuron, vocab, expert, feature",
        ),
        ("text.input[pos=1,pos=2]=zero", "at `pos` (character 18): this axis is named twice"),
        ("text.input[pos=1,x]=zero", "at `x` (character 18): indices are like 1 or 1,3 or 0..4"),
        ("text.input[pos=4..4]=zero", "at `4..4` (character 16): indices are like 1 or 1,3 or 0..4"),
        (
            "text.input[pos=0..9999999]=zero",
            "at `0..9999999` (character 16): these are 9999999 indices, expected at most 1048576",
        ),
        ("text.input[pos=1=zero", "at `[pos=1=zero` (character 11): the bracket is not closed"),
        (
            "text.input[pos=1]zero",
            "at `zero` (character 18): an edit is SITE=CHANGE or SITE[AXIS=INDICES,...]=CHANGE",
        ),
        (
            "text.input=zeor",
            "at `zeor` (character 12): no change is called so (did you mean `zero`?); changes are zero, mean, \
             scale:NUMBER, add:FILE#TENSOR, add:FILE#TENSOR*NUMBER, set:FILE#TENSOR, without:FILE#TENSOR, \
             away:FILE#TENSOR and away:FILE#TENSOR*NUMBER",
        ),
        ("text.input=scale:much", "at `much` (character 18): expected a finite number"),
        ("text.input=scale:inf", "at `inf` (character 18): expected a finite number"),
        ("text.input=add:file", "at `file` (character 16): expected FILE#TENSOR"),
        (
            "text.input=scale:-1e13",
            "at `scale:-1e13` (character 12): -1e13 is too large, expected at most 1e12 in size: squares of states overflow beyond",
        ),
        ("text.input=add:file#v*x", "at `x` (character 23): expected a finite number"),
    ] {
        assert_eq!(faulty(text), format!("the edit `{text}`, {said}"));
    }
    // Characters are counted, not bytes.
    assert!(faulty("text.input=set:größe#").contains("at `größe#` (character 16)"));
}

#[test]
fn tensors_are_read_from_files() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("di=r[e]c#tions*2.safetensors");
    let header = r#"{"v":{"dtype":"F32","shape":[3],"data_offsets":[0,12]},"nan":{"dtype":"F32","shape":[1],"data_offsets":[12,16]}}"#;
    let values = [1.0_f32, -2.0, 0.5, f32::NAN];
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.bytes().chain(values.iter().flat_map(|value| value.to_le_bytes())));
    std::fs::write(&file, bytes).unwrap();
    let at = |change: &str| format!("text.input={}", change.replace("FILE", &file.display().to_string()));
    let inputs = Toy::inputs(&[[1, 2]]);
    let entered = |change: &str| {
        let subject = Altered::new(toy(), [edit(&at(change))]).unwrap();
        (read(&subject, &inputs, "text.input", Plan::new()), subject.alterations()[0].clone())
    };
    let (values, told) = entered("add:FILE#v*-2");
    // (1 2 3; 2 3 4) - 2 (1 -2 1/2)
    assert_eq!(values, [-1.0, 6.0, 2.0, 0.0, 7.0, 3.0]);
    assert!(told.starts_with(&at("add:FILE#v*-2 [3] sha256 ")), "{told}");
    assert_eq!(entered("set:FILE#v").0, [1.0, -2.0, 0.5, 1.0, -2.0, 0.5]);
    assert_eq!(edit(&at("add:FILE#v*-2")).file(), Some(file.as_path()));
    assert_eq!(edit("text.input=zero").file(), None);
    let said = faulty(&at("set:FILE#w"));
    assert!(said.ends_with("holds no `w`, but `nan`, `v`"), "{said}");
    let said = faulty(&at("add:FILE#nan"));
    assert!(said.ends_with("holds NaN at [0], where a finite number belongs"), "{said}");
    let said = faulty("text.input=set:/nowhere#v");
    assert!(said.contains("at `/nowhere#v` (character 16): /nowhere: "), "{said}");
}
