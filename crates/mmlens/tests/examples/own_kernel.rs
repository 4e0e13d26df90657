//! A fused operation of one's own within plans: the values and gradients of the plain operations.

#[path = "../../../../examples/own_kernel/kernel.rs"]
mod kernel;

use burn::tensor::Tensor;
use mmlens::core::finding::Tolerance;
use mmlens::prelude::*;
use mmlens_testkit::Toy;
use proptest::prelude::*;

/// The same in tensor operations, which Burn differentiates.
fn plainly(x: AnyTensor, direction: &kernel::Direction) -> Result<AnyTensor, HookError> {
    let x: Tensor<3> = x.rank_of("the stream")?;
    let values = &*direction.0;
    let u = Tensor::<1>::from_floats(values, &x.device().without_autodiff()).reshape([1, 1, values.len()]);
    let along = (x.clone() * u.clone()).sum_dim(2);
    Ok((x - along * u).into())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_is_the_plain_operations_forward_and_backward(
        seed in 0..99_u64,
        vector in prop::collection::vec(-1.0..1.0_f32, 6),
        block in 0..2_usize,
    ) {
        prop_assume!(vector.iter().any(|x| x.abs() > 0.1));
        let toy = Toy::curved(seed);
        let inputs = toy.encode(&Sample::prompt(Vec::new(), "a few words")).unwrap();
        let direction = kernel::Direction::of(&vector).unwrap();
        let site = Site::block(Part::Text, block, Point::ResidPost);
        let embed: Site = "text.embed".parse().unwrap();
        let run = |fused: bool| {
            let own = direction.clone();
            let plan = Plan::new().edit(site, move |x| match fused {
                true => kernel::without(site, x, &own),
                false => plainly(x, &own),
            });
            let plan = plan.unwrap().read(site).unwrap().grad(embed).unwrap();
            toy.run(&inputs, plan.objective(Objective::logit(4))).unwrap()
        };
        let (ours, plain) = (run(true), run(false));
        let alike = |what, ours: &AnyTensor, plain: &AnyTensor| {
            let (ours, plain) = (ours.to_values().unwrap(), plain.to_values().unwrap());
            // Six products of f32 in another order, on values up to about ten.
            Tolerance::absolute(1e-5).check(what, &ours, &plain).unwrap();
        };
        alike("values", ours.get(site).unwrap(), plain.get(site).unwrap());
        alike("gradients", ours.grad(embed).unwrap(), plain.grad(embed).unwrap());
        prop_assert!(ours.grad(embed).unwrap().to_values().unwrap().iter().any(|g| g.abs() > 1e-6));
        // Nothing is left along the direction.
        for state in ours.get(site).unwrap().to_values().unwrap().chunks(6) {
            let along: f32 = state.iter().zip(direction.0.iter()).map(|(x, u)| x * u).sum();
            prop_assert!(along.abs() < 1e-5, "{along}");
        }
    }
}

#[test]
fn a_direction_of_another_width_is_refused() {
    let toy = Toy::curved(1);
    let inputs = toy.encode(&Sample::prompt(Vec::new(), "ab")).unwrap();
    let site = Site::block(Part::Text, 0, Point::ResidPost);
    let direction = kernel::Direction::of(&[1.0, 2.0]).unwrap();
    let plan = Plan::new().edit(site, move |x| kernel::without(site, x, &direction)).unwrap();
    let said = toy.run(&inputs, plan).unwrap_err().to_string();
    assert!(said.contains("text.blocks.0.resid_post") && said.contains("[2]"), "{said}");
    assert!(kernel::Direction::of(&[0.0; 6]).is_none());
}
