//! What concepts, sparse heads, bottlenecks and trees say of the models that ship inside, on scenes whose concepts are known.

#[path = "../../../../examples/design/look.rs"]
mod look;

use mmlens::core::burn::tensor::Device;
use mmlens::zoo::shipped;
use mmlens_testkit::numbers;

#[test]
fn simple_models_say_what_is_known_of_scenes() {
    let subject = shipped::shapes(&Device::default()).unwrap();

    // Whether there is one is what the model says, and no more than one rule.
    for (question, rule) in [(look::QUESTIONS[0], "shape: circle"), (look::QUESTIONS[1], "colour: red")] {
        let found = look::rules(&subject, question, 80).unwrap();
        let [own, _, majority, shuffled] = numbers(&found, "fidelity")[..] else { panic!() };
        assert!(own > 0.9 && own > majority && own > shuffled, "{question} {own} {majority} {shuffled}");
        assert!(found.table("tree").unwrap().as_texts().unwrap()[0].starts_with(rule), "{question}");
    }

    // The last block knows the colour that is asked about, from few features.
    let found = look::colours(&subject, 3, 120).unwrap();
    let [own, .., majority] = numbers(&found, "scores")[..] else { panic!() };
    assert!(own > 0.9 && majority < 0.3, "{own} {majority}");
    assert!(numbers(&found, "used").last().unwrap() < &64.0);

    // So does the shared space of the other model whether there is a circle.
    let found = look::circles(&shipped::shapes_clip(&Device::default()).unwrap(), 120).unwrap();
    let [own, .., majority] = numbers(&found, "scores")[..] else { panic!() };
    assert!(own > majority + 0.2, "{own} {majority}");

    // Behind the last block, examples held out are told apart by a direction of red circles, and not by one of nothing.
    let found = look::tested(&subject, 3, 12).unwrap();
    let accuracy = numbers(&found, "accuracy");
    assert!(accuracy[0] > 0.7 && accuracy[3] < 0.65, "{accuracy:?}");
    assert!(found.cautions().iter().any(|own| own.text.starts_with("directions of `nothing` are right in")));

    // Behind the last block the answer is all there is: corrected for red, the bottleneck is right.
    let found = look::corrected(&subject, 3, 120).unwrap();
    let [own, _, _, truth, _, majority] = numbers(&found, "scores")[..] else { panic!() };
    assert!(own > 0.9 && truth == 1.0 && majority < 0.7, "{own} {truth} {majority}");
    let order = found.table("order").unwrap().as_texts().unwrap();
    assert_eq!(order[0], "colour: red");
}
