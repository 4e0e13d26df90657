//! A panic in the middle of a pass is an error with the place, and the subject can be run again.

use mmlens_core::*;
use rayon::prelude::*;

use crate::toy::{Fault, Toy};

fn run(toy: &Toy, plan: Plan) -> Result<Trace, SubjectError> {
    toy.run(&Toy::inputs(&[[1, 2], [3, 4]]), plan)
}

fn gradient() -> Plan {
    Plan::new().grad("text.blocks.0.resid_pre").unwrap().objective(Objective::logit(0))
}

fn values(trace: &Trace) -> Vec<f32> {
    trace.grad("text.blocks.0.resid_pre".parse().unwrap()).unwrap().to_values().unwrap()
}

/// What it says, and that the toy computes afterwards what it did before.
fn broken(toy: &Toy, plan: Plan) -> (Place, String) {
    let before = values(&run(&Toy::new(Fault::None), gradient()).unwrap());
    let error = run(toy, plan).unwrap_err();
    assert_eq!(values(&run(&Toy::new(Fault::None), gradient()).unwrap()), before);
    let said = error.to_string();
    match error {
        SubjectError::Broken { place, .. } => (place, said),
        other => panic!("{other}"),
    }
}

#[test]
fn an_edit_that_panics() {
    let toy = Toy::new(Fault::None);
    for site in ["text.blocks.0.attn.scores", "text.blocks.1.mlp_out", "text.logits"] {
        let plan = Plan::new().edit(site, |_| panic!("a fault of {}", "mine")).unwrap();
        let (place, said) = broken(&toy, plan);
        assert_eq!(place, Place::Edit(site.parse().unwrap()));
        assert_eq!(said, format!("`toy` on flex broke off in the edit at `{site}`: a fault of mine"));
    }
    // Among the threads that compute, on another than that of the pass.
    let plan = Plan::new().edit("text.blocks.1.resid_pre", |x| {
        (0..64).into_par_iter().for_each(|i| assert!(i < 63, "item {i}"));
        Ok(x)
    });
    let (_, said) = broken(&toy, plan.unwrap());
    assert_eq!(said, "`toy` on flex broke off in the edit at `text.blocks.1.resid_pre`: item 63");
}

#[test]
fn an_edit_of_a_gradient_that_panics() {
    let edit = |site: &str| gradient().edit_grad(site, |_| panic!("no such slope")).unwrap();
    let (place, said) = broken(&Toy::new(Fault::None), edit("text.blocks.1.resid_pre"));
    assert_eq!(place, Place::GradientEdit("text.blocks.1.resid_pre".parse().unwrap()));
    assert_eq!(
        said,
        "`toy` on flex broke off in the edit of the gradient at `text.blocks.1.resid_pre`: no such slope"
    );
}

#[test]
fn a_model_that_panics() {
    // Its second block gives up behind `mlp_out`, whether or not anything is asked for.
    let toy = Toy::new(Fault::Panics);
    for plan in [Plan::new(), Plan::new().read("text.blocks.*.resid_post").unwrap(), gradient()] {
        let (place, said) = broken(&toy, plan);
        assert_eq!(place, Place::Behind("text.blocks.1.mlp_out".parse().unwrap()));
        assert_eq!(said, "`toy` on flex broke off behind `text.blocks.1.mlp_out`: block 1 gave up");
    }
}

#[test]
fn panics_side_by_side_do_not_mix() {
    let toy = Toy::new(Fault::None);
    let before = values(&run(&toy, gradient()).unwrap());
    std::thread::scope(|scope| {
        for turn in 0..4_usize {
            let (toy, before) = (&toy, &before);
            scope.spawn(move || {
                for round in 0..20 {
                    if (turn + round) % 2 == 0 {
                        assert_eq!(values(&run(toy, gradient()).unwrap()), *before);
                    } else {
                        let plan = gradient().edit_grad("text.input", move |_| panic!("{turn}")).unwrap();
                        let said = run(toy, plan).unwrap_err().to_string();
                        assert!(said.ends_with(&format!("`text.input`: {turn}")), "{said}");
                    }
                }
            });
        }
    });
}
