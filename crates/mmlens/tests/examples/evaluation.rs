//! Methods beside baselines on the shipped models: the example, at a glance.

#[path = "../../../../examples/evaluation/league.rs"]
mod league;

use mmlens::core::Unwatched;
use mmlens::finding::Finding;
use mmlens_testkit::cell;

/// Four panels above four.
#[test]
fn maps_are_drawn_beside_what_the_answer_rests_on() {
    let drawn = image::load_from_memory(&league::maps().unwrap()).unwrap().into_rgb8();
    assert_eq!((drawn.width(), drawn.height()), (4 * 128, 2 * 128));
    // The evidence is white on black, and some of both.
    let marked = (0..128).flat_map(|y| (0..128).map(move |x| (x, 128 + y)));
    let white = marked.filter(|(x, y)| drawn.get_pixel(*x, *y).0 == [255; 3]).count();
    assert!((100..8000).contains(&white), "{white}");
}

fn scored(model: &str, cases: usize) -> Finding {
    league::scores(model, (cases, league::Extent::Glance), None, &Unwatched).unwrap()
}

/// The evidence is known: integrated gradients and occlusion of a trained model find it many times better than chance, than a blob, and than
/// the same methods on a model with random weights; a random map finds what chance gives.
#[test]
fn evidence_is_found_by_methods_of_trained_models_alone() {
    for model in ["shapes-llava", "shapes-clip"] {
        let finding = scored(model, 4);
        let (score, n) = (finding.table("score").unwrap(), finding.table("n").unwrap());
        let mass = |row: &str| cell(score, row, "mass-accuracy");
        assert_eq!(cell(n, "edge filter", "mass-accuracy"), 4.0);
        // Objects are some 5 % of the picture.
        assert!(mass("random map") < 0.12, "{model}: {}", mass("random map"));
        for method in ["integrated gradients", "occlusion, 8 x 8"] {
            let untrained = mass(&format!("{method}, random weights"));
            let (own, chance) = (mass(method), mass("random map"));
            assert!(
                own > 2.0 * chance && own > 1.5 * untrained,
                "{model}, {method}: {own} {chance} {untrained}"
            );
        }
        // Where what is hidden first is what the answer rests on, it goes sooner than at random.
        let deletion = |row: &str| cell(score, row, "deletion");
        assert!(deletion("occlusion, 8 x 8") < deletion("random map"), "{model}");
        // Four cases are few; and nothing that looks at less beats occlusion in finding the evidence.
        let cautions = finding.cautions();
        assert_eq!(cautions[0].number, 4.0);
        let beaten =
            cautions.iter().filter(|caution| caution.text.starts_with("`occlusion, 8 x 8` is beaten"));
        assert!(beaten.into_iter().all(|caution| !caution.text.contains("mass-accuracy")), "{cautions:?}");
    }
}
