//! A linear probe on `shapes-llava` reads the colour of what a patch shows, and not its control.

use mmlens_core::finding::{CautionKind, Finding};
use mmlens_core::{Cases, Examples, Fit, On, Rows, Seed, Unwatched};
use mmlens_data::shapes::{Colour, Kind, Said, ShapesCases, ShapesConcepts, Split, World};
use mmlens_engine::{Positions, examples, gathered};
use mmlens_model::LinearProbe;
use mmlens_model::linear_probe::Settings;
use mmlens_zoo::Vlm;

use super::covered;
use crate::support::{numbers, site};

fn scores(finding: &Finding) -> [f32; 4] {
    numbers(finding, "scores").try_into().unwrap()
}

/// Which colour a patch shows in more than half of its pixels.
fn colours(data: &ShapesConcepts, case: usize) -> Vec<Option<usize>> {
    let mut found = vec![None; 64];
    for (at, colour) in Colour::ALL.iter().enumerate() {
        for (patch, pixels) in covered(data, case, &format!("colour: {}", colour.word())).iter().enumerate() {
            if *pixels > 32 {
                found[patch] = Some(at);
            }
        }
    }
    found
}

/// Rows of patches that show a colour: the label is the colour, the group the scene, and the kind the place in the picture.
fn patches(llava: &Vlm, data: &ShapesConcepts, place: &str) -> Examples {
    let positions = if place.starts_with("text") { Positions::Pictures } else { Positions::All };
    let all = gathered((&On::new(llava), "test"), data, site(place), &positions).unwrap();
    let (mut rows, mut labels, mut groups, mut kinds) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for case in 0..data.len() {
        for (patch, colour) in colours(data, case).into_iter().enumerate() {
            if let Some(colour) = colour {
                rows.push(64 * case + patch);
                labels.push(colour);
                groups.push(case as u64);
                kinds.push(patch as u64);
            }
        }
    }
    assert_eq!(all.len(), 64 * data.len());
    let names = Colour::ALL.iter().map(|colour| colour.word().to_owned()).collect();
    let rows = Examples::new("patches", all.read(&rows).unwrap(), names, labels).unwrap();
    rows.grouped(groups).unwrap().of_kinds(kinds).unwrap()
}

/// Colour is read off patches of all scenes; a colour drawn for each place in the picture, which a patch has as surely as its colour, is not. Five seeds of split and control.
#[test]
fn a_probe_reads_colour_and_not_its_control() {
    let llava = mmlens_zoo::shipped::shapes(&mmlens_core::device::host()).unwrap();
    let said = Said::Question("how many objects are there ?".to_owned());
    let data = ShapesConcepts::new(World::new(41), Split::Test, 60, said);
    let mut faults = Vec::new();
    for place in ["connector.out", "text.blocks.1.resid_post"] {
        let rows = patches(&llava, &data, place);
        let fit = LinearProbe::new(Settings { site: site(place), ..Settings::default() }).unwrap();
        for seed in 0..5 {
            let found = fit.fit(&rows, Seed(seed), &Unwatched).unwrap();
            let [accuracy, control, selectivity, majority] = scores(&found.finding);
            let counts = numbers(&found.finding, "rows");
            println!(
                "{place}, seed {seed}: {accuracy:.3}, control {control:.3}, majority {majority:.3}, rows {counts:?}"
            );
            // There is a control: nearly all rows held out are of a place that was learned from.
            let sound = counts[2] > 0.8 * counts[1] && found.finding.cautions().is_empty();
            let read = accuracy > 0.9 && majority < 0.4 && selectivity > 0.4;
            faults.extend(
                (!(sound && read))
                    .then(|| format!("{place}, {seed}: {}, {:?}", found.ended, found.finding.cautions())),
            );
        }
        // Colours that were dealt anew are not read: the test can fail.
        let mut labels = rows.labels().to_vec();
        let order = mmlens_engine::drawn_order(labels.len(), Seed(9));
        labels = order.iter().map(|at| labels[*at]).collect();
        let dealt =
            Examples::new("dealt", rows.rows().flatten().copied().collect(), rows.classes().to_vec(), labels);
        let dealt = dealt.unwrap().grouped(rows.groups().to_vec()).unwrap();
        let dealt = dealt.of_kinds(rows.kinds().to_vec()).unwrap();
        let [accuracy, ..] = scores(&fit.fit(&dealt, Seed(0), &Unwatched).unwrap().finding);
        println!("{place}, dealt anew: {accuracy:.3}");
        assert!(accuracy < 0.4, "{place}: {accuracy}");
    }
    assert!(faults.is_empty(), "{faults:?}");
}

/// As a user asks: questions about colours, and what stands where the answer is decided. All cases have the same word there, so that there is no control, and it is told. Over
/// the words of the question there is one; but which word stands where is as easy to read as anything, so that the answer is the less selective of the two.
#[test]
fn where_all_words_are_the_same_there_is_no_selectivity() {
    let llava = mmlens_zoo::shipped::shapes(&mmlens_core::device::host()).unwrap();
    let data = ShapesCases::new(World::new(42), Split::Test, Kind::Colour, 160);
    let place = site("text.blocks.3.resid_post");
    let learned = |positions: Positions| {
        let rows = examples((&On::new(&llava), "test"), &data, place, &positions).unwrap();
        let settings = Settings { site: place, positions, ..Settings::default() };
        let fit = LinearProbe::new(settings).unwrap();
        move |seed: u64| fit.fit(&rows, Seed(seed), &Unwatched).unwrap().finding
    };
    let (at_last, at_words) = (learned(Positions::Last), learned(Positions::Question));
    for seed in 0..5 {
        let last = at_last(seed);
        let table = last.table("scores").unwrap();
        assert_eq!(table.shape(), [2], "accuracy and majority");
        assert_eq!(table.axes()[0].label(1).unwrap(), "majority");
        assert_eq!(numbers(&last, "training scores").len(), 1);
        assert!(numbers(&last, "scores")[0] > 0.9, "{:?}", numbers(&last, "scores"));
        let said = last.cautions();
        let [own] = &said[..] else { panic!("{said:?}") };
        assert_eq!((own.kind, own.number), (CautionKind::Other, 1.0));
        assert!(
            own.text.starts_with("the control task has one class, since the rows are of one kind"),
            "{own:?}"
        );

        let words = at_words(seed);
        let [accuracy, control, selectivity, majority] = scores(&words);
        println!(
            "last: {:?}; question, seed {seed}: {accuracy:.3}, control {control:.3}, selectivity {selectivity:.3}, majority {majority:.3}",
            numbers(&last, "scores")
        );
        assert!(
            words.cautions().iter().all(|caution| caution.kind != CautionKind::Other),
            "{:?}",
            words.cautions()
        );
    }
}
