//! Prototype heads: against scikit-learn, against identities, against misuse, on scenes.

use burn::tensor::Device;
use mmlens_core::finding::{CautionKind, Finding, Tolerance};
use mmlens_core::{
    Analysis, Annotated, Case, Cases, Examples, Fit, Fitted, Given, On, Outcome, Picture, Sample, Seed,
    Subject, Unwatched, from_fn,
};
use mmlens_data::shapes::{Split, World};
use mmlens_design::PrototypeHead;
use mmlens_design::prototypes::{Bags, Prototypes, Settings};
use mmlens_engine::Positions;
use mmlens_testkit::{Oracle, Toy, analysis_breaches};

use crate::support::{kinds, numbers, painted, site};

fn bags(values: Vec<f32>, labels: &[usize], classes: usize, patches: usize) -> Bags {
    let names = ["red", "green", "blue"][..classes].iter().map(|name| (*name).to_owned()).collect();
    let of_row = |row: usize| row / patches;
    let rows = labels.len() * patches;
    let of_rows = (0..rows).map(|row| labels[of_row(row)]).collect();
    let examples = Examples::new("drawn", values, names, of_rows).unwrap();
    let examples = examples.grouped((0..rows).map(|row| of_row(row) as u64).collect()).unwrap();
    let places = (0..rows).map(|row| format!("patch {}", row % patches)).collect();
    Bags::new(examples, (0..rows).map(of_row).collect(), places).unwrap()
}

#[test]
fn prototypes_are_those_of_numpy_and_weights_of_scikit_learn() {
    let oracle = Oracle::open("methods/prototypes").unwrap();
    let number = |name: &str| oracle.about()[name].as_f64().unwrap();
    let settings = Settings {
        per_class: number("per_class") as usize,
        candidates: number("candidates") as usize,
        apart: number("apart"),
        epsilon: number("epsilon"),
        c: number("c"),
        held_out: number("held_out"),
        top: number("top") as usize,
        draws: number("draws") as usize,
        tolerance: 1e-9,
        ..Settings::default()
    };
    let patches = number("patches") as usize;
    for classes in [2, 3] {
        let array = |name: &str| oracle.array(&format!("{classes}/{name}")).unwrap();
        let labels: Vec<usize> = array("labels").ids().into_iter().map(|id| id as usize).collect();
        let from = bags(array("rows").f32(), &labels, classes, patches);
        let Outcome { fitted, finding, ended }: Outcome<Prototypes> = PrototypeHead::new(settings.clone())
            .unwrap()
            .fit(&from, Seed(number("seed") as u64), &Unwatched)
            .unwrap();
        assert!(ended.converged(), "{ended}");
        let wanted: Vec<String> = array("prototypes")
            .ids()
            .into_iter()
            .map(|row| format!("case {}, patch {}", row as usize / patches, row as usize % patches))
            .collect();
        assert_eq!(finding.table("prototypes").unwrap().as_texts().unwrap(), wanted);
        for (table, bound) in [
            ("distinctive", 1e-5),
            ("purity", 1e-6),
            ("by chance", 1e-6),
            ("scores", 1e-6),
            ("weights", 1e-5),
        ] {
            let gap = Tolerance::absolute(bound)
                .check(table, numbers(&finding, table), &array(table).values)
                .unwrap();
            println!("{classes} classes, {table}: {:.1e}", gap.absolute);
        }
        let own: Vec<f32> = Analysis::settings(&fitted).intercepts.iter().map(|own| *own as f32).collect();
        Tolerance::absolute(2e-5).check("intercepts", &own, &array("intercepts").values).unwrap();
    }
}

fn words(count: usize) -> impl Cases {
    let text = |i: usize| {
        format!("{}{}{}", ["a", "c"][i % 2], ["d", "e", "f", "g", "h"][i % 5], "b".repeat(i % 3 + 1))
    };
    let data = from_fn("words", count, move |i| Ok(Case::new(Sample::text(text(i)))));
    Annotated::new(data, ["a", "c"], (0..count).map(|i| i % 2).collect()).unwrap()
}

fn learned(toy: &Toy) -> Outcome<Prototypes> {
    let settings =
        Settings { site: site("text.blocks.0.resid_post"), positions: Positions::All, ..Settings::default() };
    PrototypeHead::new(settings).unwrap().learn(&On::new(toy), &words(40), Seed(3)).unwrap()
}

/// Contributions and what is left at the means are the logits; a map is nowhere above the activation and somewhere as high; a
/// prototype is as like itself as can be; what is saved and loaded is the same.
#[test]
fn contributions_are_the_logits() {
    let toy = Toy::curved(1);
    let Outcome { fitted, finding, .. } = learned(&toy);
    assert_eq!(learned(&toy).finding, finding);
    let case = Case::new(Sample::prompt(vec![painted(1)], "#cdb"));
    let given = Given::new(case.clone()).unwrap();
    let probe = toy.encode(&given.case.sample).unwrap();
    assert_eq!(analysis_breaches(&fitted, &toy, &given, &probe), Vec::<String>::new());
    let found = fitted.run(&toy, &case).unwrap();
    let sum: f32 = numbers(&found, "contributions").iter().sum::<f32>() + numbers(&found, "base")[0];
    let probability = 1.0 / (1.0 + (-sum).exp());
    assert!((probability - numbers(&found, "probabilities")[1]).abs() < 1e-5, "{probability}");
    let own = Analysis::settings(&fitted).clone();
    for (name, activation) in own.names.iter().zip(numbers(&found, "activation")) {
        let map = numbers(&found, &format!("like {name}"));
        assert!(map.iter().all(|own| own <= activation) && map.contains(activation), "{name}");
    }
    // The case that the first prototype is from.
    let number: usize = own.from[0].split([' ', ',']).nth(1).unwrap().parse().unwrap();
    let itself = fitted.run(&toy, &words(40).case(number).unwrap()).unwrap();
    let most = (1.0 / own.epsilon).ln() as f32;
    assert!((numbers(&itself, "activation")[0] - most).abs() < 1e-3, "{most}");

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("prototypes.safetensors");
    fitted.save(&path).unwrap();
    let read = Prototypes::load(&path).unwrap();
    assert_eq!(Analysis::settings(&read), Analysis::settings(&fitted));
    assert_eq!(read.run(&toy, &case).unwrap(), found);
}

/// Scenes with one thing each, told by its colour: prototypes lie on it, and are shown with it.
#[test]
fn prototypes_of_colours_lie_on_what_has_them() {
    let subject = mmlens_zoo::shipped::shapes(&Device::default()).unwrap();
    let world = World::new(5);
    let colours = ["red", "green", "blue"];
    let mut scenes = Vec::new();
    for id in 0..2000 {
        let scene = world.scene(Split::Train, id);
        let label = colours.iter().position(|colour| scene.objects[0].colour.word() == *colour);
        if let (1, Some(label)) = (scene.objects.len(), label) {
            scenes.push((scene, label));
        }
        if scenes.len() == 60 {
            break;
        }
    }
    assert_eq!(scenes.len(), 60);
    let labels = scenes.iter().map(|(_, label)| *label).collect();
    let shown: Vec<_> = scenes.iter().map(|(scene, _)| scene.clone()).collect();
    let data = from_fn("scenes", shown.len(), move |i| {
        let picture = Picture::new(format!("scene {i}"), shown[i].render());
        Ok(Case::new(Sample::ask(picture, "what colour is it ?")))
    });
    let data = Annotated::new(data, colours, labels).unwrap();
    let settings = Settings {
        site: site("vision.blocks.0.resid_pre"),
        per_class: 1,
        candidates: 400,
        ..Settings::default()
    };
    let Outcome { finding, fitted, .. } =
        PrototypeHead::new(settings).unwrap().learn(&On::new(&subject), &data, Seed(1)).unwrap();
    println!("{:?}", finding.table("scores").unwrap());
    println!("{:?} {:?}", finding.table("prototypes").unwrap().as_texts(), numbers(&finding, "purity"));
    let [accuracy, random, _, majority] = numbers(&finding, "scores")[..] else { panic!() };
    assert!(accuracy >= 0.9 && accuracy > random + 0.3 && accuracy > majority, "{accuracy} {random}");
    assert!(numbers(&finding, "purity").iter().all(|own| *own >= 0.75), "{:?}", numbers(&finding, "purity"));
    // The crop shows its colour: the channel of the class is the strongest where any stands out.
    let crops = numbers(&finding, "patches");
    for (class, crop) in crops.chunks(crops.len() / 3).enumerate() {
        let vivid = |pixel: &&[f32]| {
            let mut sorted = pixel.to_vec();
            sorted.sort_by(f32::total_cmp);
            sorted[2] - sorted[0] > 80.0
        };
        let of = |channel: usize| crop.chunks(3).filter(vivid).map(|pixel| pixel[channel]).sum::<f32>();
        let sums = [of(0), of(1), of(2)];
        let most = (0..3).find(|at| sums.iter().all(|other| *other <= sums[*at])).unwrap();
        assert_eq!(most, class, "{sums:?}");
    }
    let found: Finding = fitted.run(&subject, &data.case(0).unwrap()).unwrap();
    assert!(found.find("like red 1").is_some_and(|table| table.len() == 64));
}

#[test]
fn what_tells_nothing_is_spoken_of_and_what_cannot_be_learned_refused() {
    let noise = |i: u64| mmlens_engine::normal(Seed(9).at(i)) as f32;
    let labels: Vec<usize> = (0..24).map(|i| i % 2).collect();
    let from = bags((0..24 * 4 * 3).map(noise).collect(), &labels, 2, 4);
    let run = |from: &Bags, settings: Settings| {
        PrototypeHead::new(settings).unwrap().fit(from, Seed(1), &Unwatched)
    };
    let found = run(&from, Settings { top: 5, ..Settings::default() }).unwrap().finding;
    let said = kinds(&found);
    let beaten = said.contains(&CautionKind::NoBetter) || said.contains(&CautionKind::Chance);
    assert!(said.contains(&CautionKind::FewRows) && beaten, "{:?}", found.cautions());
    let stopped = run(&from, Settings { steps: 1, tolerance: 1e-12, ..Settings::default() }).unwrap().finding;
    assert!(kinds(&stopped).contains(&CautionKind::NotConverged));
    let same = bags(vec![1.0; 24 * 4 * 3], &labels, 2, 4);
    let said = run(&same, Settings::default()).unwrap_err().to_string();
    assert!(said.contains("patches that differ"), "{said}");
    let few = bags((0..5 * 4 * 3).map(noise).collect(), &[0, 1, 0, 1, 0], 2, 4);
    let said = run(&few, Settings::default()).unwrap_err().to_string();
    assert!(said.contains("at least three cases of each class"), "{said}");
    let single = bags((0..24 * 3).map(noise).collect(), &labels, 2, 1);
    let said = run(&single, Settings::default()).unwrap_err().to_string();
    assert!(said.contains("at least two patches in each case"), "{said}");
    for (settings, wanted) in [
        (Settings { per_class: 0, ..Settings::default() }, "per_class = 0"),
        (Settings { epsilon: 0.0, ..Settings::default() }, "epsilon = 0"),
        (Settings { apart: 1.5, ..Settings::default() }, "apart = 1.5"),
        (Settings { held_out: 1.0, ..Settings::default() }, "held_out = 1"),
    ] {
        let said = PrototypeHead::new(settings).unwrap_err().to_string();
        assert!(said.contains(wanted), "{said}");
    }
}
