//! Methods of layers on the layers of towers.

use burn::tensor::Device;
use mmlens_core::{
    Analysis, AxisName, Case, Change, Given, Objective, Pair, Part, Picture, Plan, Point, Region, Sample,
    Site, Subject, Words,
};
use mmlens_engine::Positions;
use mmlens_model::activation_patching::{ActivationPatching, Places, Settings};
use mmlens_testkit::{Toy, analysis_breaches, checkpoint, picture};

use crate::support::{about, llava, painted, shown};

/// A tower patched as a whole is the clean picture; one of its positions, in one of its pictures, is a plan with that value.
#[test]
fn a_tower_is_patched_at_its_own_positions() {
    for (name, prompt, pictures) in [
        ("llava-a", "<image>Red?", [&["square"][..], &["tall"]]),
        ("llava-a", "<image>and<image>", [&["square", "wide"], &["tall", "square"]]),
        ("qwen2.5-vl-a", "<|vision_start|><|image_pad|><|vision_end|>Red?", [&["square"], &["inverted"]]),
    ] {
        let subject = mmlens_zoo::open(checkpoint(name), &Device::default()).unwrap();
        let sample = |names: &[&str]| {
            let open = |name: &&str| {
                if *name != "inverted" {
                    return Picture::open(picture(name)).unwrap();
                }
                let mut image = (*Picture::open(picture("square")).unwrap().image).clone();
                image.invert();
                Picture::new("inverted", image)
            };
            Sample::prompt(names.iter().map(open).collect(), prompt)
        };
        let pair =
            Pair { clean: about(sample(pictures[0]), Objective::logit(5)), corrupted: sample(pictures[1]) };
        let run = |places: Places| {
            let settings = Settings { part: Some(Part::Vision), places, rows: 3, ..Settings::default() };
            ActivationPatching::new(settings).unwrap().run(subject.as_ref(), &pair)
        };
        let whole = run(Places::Together).unwrap();
        let first = whole.table("resid_pre").unwrap().get(&[0, 0]).unwrap();
        assert!((first - 1.0).abs() < 1e-4, "{name}: {first}");
        let each = run(Places::Each(Positions::At(vec![1, 3]))).unwrap();
        let inputs = [&pair.clean.sample, &pair.corrupted].map(|sample| subject.encode(sample).unwrap());
        let shown = if name == "llava-a" { inputs[0].seen.len() } else { 1 };
        let table = each.table("resid_pre/patched").unwrap();
        let layers = subject.anatomy()[0].blocks;
        assert_eq!(table.shape(), [layers, 2 * shown], "{name}");
        for layer in 0..layers {
            let place = Site::block(Part::Vision, layer, Point::ResidPre);
            let read = subject.run(&inputs[0], Plan::new().read(place).unwrap()).unwrap();
            let held = read.get(place).unwrap().clone();
            for (column, region) in
                (0..shown).flat_map(|at| [1, 3].map(|position| (at, position))).enumerate()
            {
                let (entry, position) = region;
                let mut region = Region::all().positions([position]);
                if name == "llava-a" {
                    region = region.of(AxisName::Image, [entry]);
                }
                let plan = Plan::new().change(place, region, Change::Set(held.clone())).unwrap();
                let plan = plan.objective(Objective::logit(5));
                let wanted = subject.run(&inputs[1], plan).unwrap().scores().unwrap()[0];
                let found = table.get(&[layer, column]).unwrap();
                assert!(
                    (found - wanted).abs() < 1e-5 * wanted.abs().max(1.0),
                    "{name} {layer} {column}: {found} {wanted}"
                );
            }
        }
        let said = run(Places::Each(Positions::At(Vec::new()))).unwrap_err().to_string();
        assert!(said.contains("needs at least one position"), "{said}");
        let said = run(Places::Modalities).unwrap_err().to_string();
        assert!(said.contains("places = \"modalities\", but a tower's are each of all"), "{said}");
        let said = run(Places::Each(Positions::At(vec![1 << 20]))).unwrap_err().to_string();
        assert!(said.contains("positions that the tower has"), "{said}");
    }
}

#[test]
fn patching_a_tower_keeps_the_contract() {
    let settings = || Settings {
        part: Some(Part::Vision),
        points: vec![Point::ResidPost, Point::AttnOut],
        places: Places::Each(Positions::At(vec![0, 2])),
        ..Settings::default()
    };
    let method = ActivationPatching::new(settings()).unwrap();
    let subject = llava("llava-a");
    let given = Given::new(about(shown(&["square"], "<image>Red?"), Objective::logit(5))).unwrap();
    let given = given.against(shown(&["tall"], "<image>Red?"));
    let probe = subject.encode(&given.case.sample).unwrap();
    assert_eq!(analysis_breaches(&method, subject, &given, &probe), Vec::<String>::new());
    // Of a dual encoder: which patch of the tower makes the caption fit.
    let clip = mmlens_zoo::open(checkpoint("clip-a"), &Device::default()).unwrap();
    let of =
        |name: &str| Sample::new(shown(&[name], "").pictures, Words::Texts(vec!["a red square".to_owned()]));
    let given = Given::new(about(of("square"), Objective::Similarity)).unwrap().against(of("tall"));
    let probe = clip.encode(&given.case.sample).unwrap();
    assert_eq!(analysis_breaches(&method, clip.as_ref(), &given, &probe), Vec::<String>::new());
    // The same picture in both runs: its tower brings nothing back.
    let asked = |words: &str| shown(&["square"], words);
    let pair =
        Pair { clean: about(asked("<image>Red?"), Objective::logit(5)), corrupted: asked("<image>Rid?") };
    let said = method.run(subject, &pair).unwrap_err().to_string();
    assert_eq!(
        said,
        "activation-patching needs two samples that differ in the states patched, but both hold the same at \
         `vision.blocks.3.resid_post`"
    );
    // The toy's tower has no blocks.
    let case = Case::new(Sample::prompt(vec![painted(1)], "#ab"));
    let pair = Pair { clean: case, corrupted: Sample::prompt(vec![painted(2)], "#ab") };
    let said = method.run(&Toy::curved(1), &pair).unwrap_err().to_string();
    assert_eq!(said, "activation-patching needs blocks in its part `vision`, but this subject has none");
}
