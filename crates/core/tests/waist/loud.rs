//! What is asked for happens or is refused: each refusal with its text.

use crate::toy::{Fault, Toy, device as host};
use mmlens_core::*;
use mmlens_finding::{Modality, TokenLabel};
use std::sync::Arc;

fn refused(plan: Plan) -> String {
    Toy::new(Fault::None).run(&Toy::inputs(&[[1, 2]]), plan).unwrap_err().to_string()
}

#[test]
fn an_unknown_site_is_refused_with_the_nearest() {
    let plan = Plan::new().read("text.blocks.7.resid_pre").unwrap();
    assert_eq!(
        refused(plan),
        "`toy` has no site `text.blocks.7.resid_pre` (did you mean `text.blocks.1.resid_pre`?)"
    );
    let plan = Plan::new().read("vision.blocks.*.resid_pre").unwrap();
    assert!(refused(plan).starts_with("`toy` has no site `vision.blocks.*.resid_pre`"));
}

#[test]
fn a_misspelt_site_is_refused_at_once() {
    let error = Plan::new().read("text.blocks.0.resid_pro").unwrap_err();
    assert_eq!(
        error.to_string(),
        "`text.blocks.0.resid_pro` is not a site or selector: `resid_pro` is no point (did you mean `resid_pre`?)"
    );
    let error = "txt.input".parse::<Site>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "`txt.input` is not a site or selector: `txt` is no part; parts are vision, audio, connector, encoder, text \
         (did you mean `text`?)"
    );
    let error = "text.resid_pre".parse::<Site>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "`text.resid_pre` is not a site or selector: `resid_pre` lies inside a block \
         (did you mean `text.blocks.0.resid_pre`?)"
    );
}

#[test]
fn a_wrong_rank_is_refused() {
    let site = "text.blocks.0.resid_pre".parse::<Site>().unwrap();
    let trace = Toy::new(Fault::None).run(&Toy::inputs(&[[1, 2]]), Plan::new().read(site).unwrap()).unwrap();
    let error = trace.tensor::<2>(site).unwrap_err();
    assert_eq!(error.to_string(), "`text.blocks.0.resid_pre` holds a rank-3 tensor; rank 2 was asked for");
}

#[test]
fn what_was_not_read_is_not_there() {
    let site = "text.blocks.0.resid_pre".parse::<Site>().unwrap();
    let trace = Toy::new(Fault::None).run(&Toy::inputs(&[[1, 2]]), Plan::new()).unwrap();
    assert_eq!(
        trace.get(site).unwrap_err().to_string(),
        "`text.blocks.0.resid_pre` was not read in this pass"
    );
}

#[test]
fn an_edit_that_reshapes_is_refused() {
    let plan = Plan::new().edit("text.blocks.0.resid_pre", |x| x.rows(0, 1)?.repeat_rows(2)).unwrap();
    assert_eq!(
        refused(plan),
        "the edit at `text.blocks.0.resid_pre` changes the shape from [1, 2, 3] to [2, 2, 3]"
    );
}

#[test]
fn a_value_that_does_not_fit_is_refused() {
    let value = AnyTensor::from_values(vec![0.0; 4], &[1, 2, 2], &crate::toy::device()).unwrap();
    let plan = Plan::new().set("text.blocks.0.resid_pre", value).unwrap();
    assert_eq!(
        refused(plan),
        "`text.blocks.0.resid_pre` has shape [1, 2, 3]; a value of shape [1, 2, 2] cannot be set there \
         (each length must be equal or 1)"
    );
}

#[test]
fn an_axis_a_site_lacks_and_an_index_beyond_it_are_refused() {
    let plan = Plan::new().change("text.input", Region::all().heads([0]), Change::Zero).unwrap();
    assert_eq!(
        refused(plan),
        "`text.input` has axes [batch, pos, d_model=3]; it has no `head` to choose from"
    );
    let plan = Plan::new().change("text.input", Region::all().positions([5]), Change::Zero).unwrap();
    assert_eq!(refused(plan), "`text.input`: pos 5 is out of range, there are 2");
}

#[test]
fn a_query_left_with_nothing_is_refused() {
    let plan = Plan::new().knock_out("text.blocks.1.attn.scores", None, [1], [0, 1]).unwrap();
    assert_eq!(
        refused(plan),
        "`text.blocks.1.attn.scores`: the knock-out leaves query 1 no key to attend to"
    );
}

#[test]
fn gradients_need_an_objective_that_depends_on_the_site() {
    let plan = Plan::new().grad("text.input").unwrap();
    assert_eq!(refused(plan), "the plan asks for gradients but names no objective");
    let zero = Plan::new()
        .grad("text.input")
        .unwrap()
        .edit("text.logits", |x| {
            let dims = x.dims();
            AnyTensor::from_values(vec![1.0; dims.iter().product()], &dims, &crate::toy::device())
        })
        .unwrap()
        .objective(Objective::logit(0));
    assert_eq!(
        refused(zero),
        "no gradient reached `text.input`: the objective does not depend on it, or the plan did not ask for it"
    );
}

#[test]
fn an_objective_outside_the_output_is_refused() {
    assert_eq!(
        refused(Plan::new().objective(Objective::logit(9))),
        "the objective asks for token 9, but the output has 3"
    );
    let similarity = Plan::new().objective(Objective::Similarity);
    assert_eq!(
        refused(similarity),
        "the objective `similarity of picture and text` needs an output this subject does not produce"
    );
}

#[test]
fn an_objective_that_is_no_number_is_refused() {
    for (by, found) in [(f32::NAN, "NaN"), (f32::INFINITY, "")] {
        let plan = Plan::new().change("text.blocks.1.resid_post", Region::all(), Change::Scale(by)).unwrap();
        let said = refused(plan.objective(Objective::logit(1)));
        let start = format!("`logit of token 1 at the last position` holds {found}");
        assert!(
            said.starts_with(&start) && said.ends_with(" at [0], where a finite number belongs"),
            "{said}"
        );
    }
}

#[test]
fn a_pass_resumes_at_block_boundaries_only_and_never_before_a_planned_site() {
    let hidden = AnyTensor::from_values(vec![0.0; 6], &[1, 2, 3], &crate::toy::device()).unwrap();
    let state = |site: &str| State { site: site.parse().unwrap(), hidden: hidden.clone() };
    assert_eq!(
        refused(Plan::new().resume(state("text.blocks.1.mlp_out"))),
        "a pass can resume at `PART.blocks.I.resid_pre` only, not at `text.blocks.1.mlp_out`"
    );
    let plan = Plan::new().read("text.blocks.0.mlp_out").unwrap().resume(state("text.blocks.1.resid_pre"));
    assert_eq!(
        refused(plan),
        "`text.blocks.0.mlp_out` lies before `text.blocks.1.resid_pre`, where this pass resumes"
    );
}

#[test]
fn a_model_that_breaks_its_own_table_is_found_out() {
    let run = |fault| {
        let plan = Plan::new().read("text.blocks.1.resid_post").unwrap();
        Toy::new(fault).run(&Toy::inputs(&[[1, 2]]), plan).unwrap_err().to_string()
    };
    assert_eq!(run(Fault::Twice), "the forward pass reached `text.blocks.0.mlp_out` twice");
    assert_eq!(
        run(Fault::Unpublished),
        "the model reported `text.blocks.0.attn_out`, which is not in its table of sites"
    );
    assert_eq!(
        run(Fault::OtherShape),
        "`text.blocks.0.resid_post` is published as [batch, pos, d_model=3], but the pass brought [1, 2, 2]"
    );
    assert_eq!(
        run(Fault::Skips),
        "`text.blocks.1.resid_post` was planned but the forward pass never reached it"
    );
}

#[test]
fn a_batch_that_does_not_fit_together_is_refused() {
    let said = |change: &dyn Fn(&mut Batch)| {
        let error = Toy::inputs(&[[1, 2], [3, 4]]).with(change).unwrap_err().to_string();
        error.strip_prefix("the batch does not fit together: ").unwrap().to_owned()
    };
    let labels = |count| {
        Arc::new(TokenMap {
            tokens: vec![TokenLabel::new("a", Modality::Text); count],
            ..TokenMap::default()
        })
    };
    assert_eq!(said(&|batch| batch.ids[1].truncate(1)), "row 1 has 1 positions, row 0 has 2");
    assert_eq!(said(&|batch| batch.ids.clear()), "the batch has no positions");
    assert_eq!(said(&|batch| batch.tails.push(0)), "2 rows, but 2 and 3 pads, 2 maps");
    assert_eq!(said(&|batch| batch.tails = vec![0, 2]), "row 1 is padded by 2 of 2 positions");
    assert_eq!(said(&|batch| batch.seen.of_rows = vec![vec![], vec![0]]), "picture 0 is named, there are 0");
    assert_eq!(said(&|batch| batch.seen.means = vec![vec![0.0; 3]]), "1 mean colours, but 0 pictures");
    assert_eq!(said(&|batch| batch.maps[1] = labels(3)), "row 1 has 2 positions, but 3 labels");
    let grid = Grid { frames: 1, rows: 2, cols: 2, seconds: None };
    let pixels = AnyTensor::from_values(vec![0.0; 6], &[3, 2], &host()).unwrap();
    let packed =
        |batch: &mut Batch| (batch.seen.grids, batch.seen.values) = (vec![grid], Some(pixels.clone()));
    assert_eq!(said(&packed), "the pictures have 4 patches, the pixels 3");
    let none = Toy::inputs(&[[1, 2]]).repeat(0);
    let said = Toy::new(Fault::None).run(&none, Plan::new()).unwrap_err().to_string();
    assert_eq!(said, "the batch does not fit together: the batch has no positions");
}

#[test]
fn selectors_that_mean_nothing_are_refused() {
    for (text, reason) in [
        ("text.blocks.4..4.resid_pre", "the range `4..4` is empty"),
        ("text.blocks.{0,1.resid_pre", "the braces in `{0,1.resid_pre` do not match"),
        ("text", "a selector is `part.point` or `part.blocks.i.point`"),
        ("text.blocks.x..3.resid_pre", "`x` in `x..3` is no block number"),
    ] {
        let error = text.parse::<Selector>().unwrap_err();
        assert_eq!(error.to_string(), format!("`{text}` is not a site or selector: {reason}"));
    }
}

/// A subject that takes no notice of an answer is not run without it.
#[test]
fn an_answer_that_is_left_out_is_noticed() {
    let toy = Toy::new(Fault::None);
    let sample = Sample::text("a").answered(Reply::Tokens(vec![1]));
    for on in [On::new(&toy), On::new(&toy).sharing(&Shared::new())] {
        let said = on.encode(&sample).unwrap_err().to_string();
        assert_eq!(said, "`toy` cannot take this sample: it left out the answer that the sample holds");
    }
}
