//! Sites of a model's own: a router of experts and a dictionary, read, edited and differentiated like the others.

use std::sync::Arc;

use burn::tensor::activation::{relu, softmax};
use burn::tensor::{Device, Int, Tensor, TensorData};
use mmlens_core::finding::Tolerance;
use mmlens_core::{
    Alteration, Altered, Anatomy, AnyTensor, AxisName, Batch, Change, Entries, HookError, Inputs, LogitsAt,
    Objective, Output, Part, Plan, Point, Region, Resume, Run, Sample, Seed, Site, SiteSpec, Subject,
    SubjectError, TokenMap, Words, kind,
};
use mmlens_testkit::subject_breaches;

const WIDTH: usize = 3;
const EXPERTS: usize = 2;
const FEATURES: usize = 4;
const VOCAB: usize = 5;
const BLOCKS: usize = 2;
const ROUNDING: Tolerance = Tolerance::either(1e-6, 1e-5);

/// Blocks of two experts each, mixed by a router; behind each block a dictionary whose features go on in the place of the
/// stream, with what they miss.
struct Mixture {
    embed: Tensor<2>,
    router: Tensor<2>,
    experts: [Tensor<2>; EXPERTS],
    dictionary: Tensor<2>,
    unembed: Tensor<2>,
    points: [Point; 3],
    sites: Vec<SiteSpec>,
    anatomy: Vec<Anatomy>,
}

fn matrix(seed: u64, rows: usize, cols: usize) -> Tensor<2> {
    let values: Vec<f32> = (0..rows * cols).map(|i| 2.0 * Seed(seed).at(i as u64).unit() - 1.0).collect();
    Tensor::from_data(TensorData::new(values, [rows, cols]), &Device::flex())
}

impl Mixture {
    fn new() -> Self {
        use AxisName::{Batch, DModel, Expert, Feature, Pos, Vocab};
        let own = |front, path, meaning| Point::own(front, path, meaning).unwrap();
        // In the order of a pass, which is not that of the alphabet.
        let points = [
            own(Point::MlpIn, "moe.router", "Shares of the experts: softmax(mlp_in R)."),
            own(Point::MlpIn, "moe.experts", "What each expert says: mlp_in W of each."),
            own(Point::ResidPost, "sae.features", "Features of the dictionary: relu(resid_post D)."),
        ];
        let stream = || vec![(Batch, None), (Pos, None), (DModel, Some(WIDTH))];
        let spec = |site, axes: Vec<_>| SiteSpec::new(site, axes);
        let mut sites = vec![spec(Site::of(Part::Text, Point::Input), stream())];
        for block in 0..BLOCKS {
            let at = |point| Site::block(Part::Text, block, point);
            let wide = vec![(Batch, None), (Pos, None), (Expert, Some(EXPERTS)), (DModel, Some(WIDTH))];
            sites.extend([
                spec(at(Point::ResidPre), stream()),
                spec(at(Point::MlpIn), stream()),
                spec(at(points[0]), vec![(Batch, None), (Pos, None), (Expert, Some(EXPERTS))]),
                spec(at(points[1]), wide),
                spec(at(Point::MlpOut), stream()),
                spec(at(Point::ResidPost), stream()),
                spec(at(points[2]), vec![(Batch, None), (Pos, None), (Feature, Some(FEATURES))]),
            ]);
        }
        let logits = Site::of(Part::Text, Point::Logits);
        sites.push(spec(logits, vec![(Batch, None), (Pos, None), (Vocab, Some(VOCAB))]));
        let anatomy = Anatomy {
            part: Part::Text,
            blocks: BLOCKS,
            heads: 1,
            kv_heads: 1,
            d_model: WIDTH,
            d_head: WIDTH,
            d_mlp: EXPERTS * WIDTH,
            made_for: None,
        };
        Self {
            embed: matrix(1, VOCAB, WIDTH),
            router: matrix(2, WIDTH, EXPERTS),
            experts: [matrix(3, WIDTH, WIDTH), matrix(4, WIDTH, WIDTH)],
            dictionary: matrix(5, WIDTH, FEATURES),
            unembed: matrix(6, WIDTH, VOCAB),
            points,
            sites,
            anatomy: vec![anatomy],
        }
    }

    fn block(&self, block: usize, x: Tensor<3>, run: &mut Run) -> Result<Tensor<3>, HookError> {
        let at = |point| Site::block(Part::Text, block, point);
        let [router, experts, features] = self.points;
        let x = run.at(at(Point::ResidPre), x)?;
        let read = run.at(at(Point::MlpIn), x.clone())?;
        let shares = run.at(at(router), softmax(read.clone().matmul(self.router.clone().unsqueeze()), 2))?;
        let each = self.experts.iter().map(|expert| read.clone().matmul(expert.clone().unsqueeze()));
        let each = run.at(at(experts), Tensor::stack::<4>(each.collect(), 2))?;
        let mixed = (each * shares.unsqueeze_dim::<4>(3)).sum_dim(2).squeeze_dim::<3>(2);
        let x = x + run.at(at(Point::MlpOut), mixed)?;
        let x = run.at(at(Point::ResidPost), x)?;
        if !run.wants(at(features)) {
            return Ok(x);
        }
        let dictionary = self.dictionary.clone().unsqueeze::<3>();
        let own = relu(x.clone().matmul(dictionary.clone()));
        let back = |features: Tensor<3>| features.matmul(dictionary.clone().swap_dims(1, 2));
        let missed = x - back(own.clone());
        Ok(back(run.at(at(features), own)?) + missed)
    }

    fn refuse(&self, reason: &str) -> SubjectError {
        SubjectError::Sample { subject: self.name().to_owned(), reason: reason.to_owned() }
    }
}

impl Subject for Mixture {
    fn name(&self) -> &str {
        "mixture"
    }
    fn weights_hash(&self) -> String {
        "seeds 1 to 6".to_owned()
    }
    fn device(&self) -> String {
        "flex".to_owned()
    }
    fn sites(&self) -> &[SiteSpec] {
        &self.sites
    }
    fn anatomy(&self) -> &[Anatomy] {
        &self.anatomy
    }
    fn encode(&self, sample: &Sample) -> Result<Inputs, SubjectError> {
        let Words::Prompt(text) = &sample.words else { return Err(self.refuse("it takes a prompt")) };
        Inputs::new(Batch {
            ids: vec![self.tokens(text)?],
            pads: vec![0],
            tails: vec![0],
            maps: vec![Arc::new(TokenMap::default())],
            seen: Entries::default(),
            heard: Entries::default(),
            logits_at: LogitsAt::Last,
        })
    }
    fn forward(&self, inputs: &Inputs, run: &mut Run) -> Result<Output, SubjectError> {
        let shape = [inputs.rows(), inputs.positions(), WIDTH];
        if inputs.ids.iter().flatten().any(|id| *id as usize >= VOCAB) || shape[1] == 0 {
            return Err(self.refuse("tokens outside the vocabulary, or none"));
        }
        let (first, mut x) = match run.resume(Part::Text) {
            Resume::At(block, state) if state.dims() == shape => (block, state.rank_of("the state")?),
            Resume::At(..) => return Err(self.refuse("a state of another shape")),
            _ => {
                let ids: Vec<i64> = inputs.ids.iter().flatten().map(|id| i64::from(*id)).collect();
                let count = ids.len();
                let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, [count]), &Device::flex());
                let x = self.embed.clone().select(0, ids).reshape(shape);
                (0, run.at(Site::of(Part::Text, Point::Input), x)?)
            }
        };
        for block in first..BLOCKS {
            if run.done() {
                return Ok(Output::default());
            }
            x = self.block(block, x, run)?;
        }
        if run.done() {
            return Ok(Output::default());
        }
        let last = shape[1] - 1;
        let x = if inputs.logits_at == LogitsAt::Last { x.narrow(1, last, 1) } else { x };
        let logits = x.matmul(self.unembed.clone().unsqueeze());
        if let Some(wanted) = run.selected_logits() {
            let all = Output::of_logits(logits);
            let at = wanted.positions(if inputs.logits_at == LogitsAt::Last { 1 } else { shape[1] });
            let Some(logits) = all.logits else { return Ok(Output::default()) };
            let logits: Tensor<3> = logits.rank_of("logits")?;
            let at: Vec<i64> = match inputs.logits_at {
                LogitsAt::Last => vec![0],
                LogitsAt::All => at?.into_iter().map(|at| at as i64).collect(),
            };
            let tokens: Vec<i64> = match wanted.tokens(VOCAB)? {
                Some(tokens) => tokens.iter().map(|token| i64::from(*token)).collect(),
                None => (0..VOCAB as i64).collect(),
            };
            let index = |own: Vec<i64>| {
                let count = own.len();
                Tensor::<1, Int>::from_data(TensorData::new(own, [count]), &Device::flex())
            };
            return Ok(run.output(logits.select(1, index(at)).select(2, index(tokens)))?);
        }
        Ok(Output::of_logits(run.at(Site::of(Part::Text, Point::Logits), logits)?))
    }
    fn read_out(&self, part: Part, states: AnyTensor) -> Result<AnyTensor, SubjectError> {
        Ok(kind::readable(self, part, states)?.matmul(self.unembed.clone()).into())
    }

    fn decode(&self, ids: &[u32]) -> Result<String, SubjectError> {
        Ok(ids.iter().map(|id| self.token(*id)).collect())
    }
    fn token(&self, id: u32) -> String {
        id.to_string()
    }
    fn tokens(&self, text: &str) -> Result<Vec<u32>, SubjectError> {
        Ok(text.bytes().map(|byte| u32::from(byte) % VOCAB as u32).collect())
    }
}

const ROUTER: &str = "text.blocks.1.mlp_in.moe.router";
const LAST: usize = 3;

fn inputs(mixture: &Mixture) -> Inputs {
    mixture.encode(&Sample::prompt(Vec::new(), "abdc")).unwrap()
}

fn site(name: &str) -> Site {
    name.parse().unwrap()
}

fn values(x: &AnyTensor) -> Vec<f32> {
    x.to_values().unwrap()
}

fn product(x: &[f32], weight: &Tensor<2>) -> Vec<f64> {
    let ([high, wide], weight) = (weight.dims(), values(&weight.clone().into()));
    (0..wide).map(|j| (0..high).map(|i| f64::from(x[i]) * f64::from(weight[i * wide + j])).sum()).collect()
}

#[test]
fn a_model_with_sites_of_its_own_keeps_the_contract() {
    let mixture = Mixture::new();
    for case in [inputs(&mixture), inputs(&mixture).repeat(2)] {
        let breaches = subject_breaches(&mixture, &case);
        assert!(breaches.is_empty(), "{}", breaches.join("\n"));
    }
    let edits = [
        format!("{ROUTER}[expert=0]=scale:0.5"),
        "text.blocks.*.resid_post.sae.features[feature=1]=zero".to_owned(),
    ];
    let edits = edits.map(|text| Alteration::parse(&text).unwrap());
    let altered = Altered::new(&mixture, edits).unwrap();
    let breaches = subject_breaches(&altered, &inputs(&mixture));
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
fn a_router_is_read_edited_and_differentiated() {
    let (mixture, router) = (Mixture::new(), site(ROUTER));
    let case = inputs(&mixture);
    let places = ["text.blocks.1.mlp_in", "text.blocks.1.mlp_in.moe.*", "text.blocks.1.mlp_out"];
    let plan = places.into_iter().fold(Plan::new(), |plan, place| plan.read(place).unwrap());
    let trace = mixture.run(&case, plan.grad(router).unwrap().objective(Objective::logit(2))).unwrap();
    let read = values(trace.get(site(places[0])).unwrap());
    let x = &read[LAST * WIDTH..];
    // softmax(mlp_in R)
    let scores = product(x, &mixture.router);
    let total: f64 = scores.iter().map(|score| score.exp()).sum();
    let shares: Vec<f32> = scores.iter().map(|score| (score.exp() / total) as f32).collect();
    ROUNDING.check("router", &values(trace.get(router).unwrap())[LAST * EXPERTS..], &shares).unwrap();
    // The logit is the sum of what experts say, each so much as the router gives it: its slope is what that expert says.
    let slopes: Vec<f32> = mixture
        .experts
        .iter()
        .map(|expert| {
            let said: Vec<f32> = product(x, expert).into_iter().map(|v| v as f32).collect();
            product(&said, &mixture.unembed)[2] as f32
        })
        .collect();
    let gradient = values(trace.grad(router).unwrap());
    ROUNDING.check("slope", &gradient[LAST * EXPERTS..], &slopes).unwrap();
    ROUNDING.check("slope before", &gradient[..LAST * EXPERTS], &[0.0; LAST * EXPERTS]).unwrap();
    // One expert alone.
    let alone = AnyTensor::from_values(vec![0.0, 1.0], &[1, 1, EXPERTS], &Device::flex()).unwrap();
    let region = Region::all().positions([LAST]);
    let plan = Plan::new().change(router, region, Change::Set(alone)).unwrap().read(places[2]).unwrap();
    let out = values(mixture.run(&case, plan).unwrap().get(site(places[2])).unwrap());
    let second: Vec<f32> = product(x, &mixture.experts[1]).into_iter().map(|v| v as f32).collect();
    ROUNDING.check("one expert", &out[LAST * WIDTH..], &second).unwrap();
    let whole = values(trace.get(site(places[2])).unwrap());
    ROUNDING.check("others", &out[..LAST * WIDTH], &whole[..LAST * WIDTH]).unwrap();
}

#[test]
fn own_names_are_read_ordered_and_refused_like_others() {
    let mixture = Mixture::new();
    let router = site(ROUTER);
    assert_eq!(router.to_string(), ROUTER);
    assert_eq!(router, mixture.sites()[10].site);
    assert_eq!(router.point().meaning(), "A place that this model alone has.");
    assert_eq!(mixture.sites()[10].site.point().meaning(), "Shares of the experts: softmax(mlp_in R).");
    let at = |point| Site::block(Part::Text, 1, point);
    assert!(at(Point::MlpIn) < router && router < at(Point::MlpGate) && router.point().in_block());
    assert_eq!(router.point().front(), Some(Point::MlpIn));
    let json = serde_json::to_string(&[router, at(Point::Z)]).unwrap();
    assert_eq!(serde_json::from_str::<Vec<Site>>(&json).unwrap(), [router, at(Point::Z)]);
    let json = serde_json::to_string(&[router.point(), Point::ResidPre]).unwrap();
    assert_eq!(json, r#"["mlp_in.moe.router","resid_pre"]"#);
    assert_eq!(serde_json::from_str::<Vec<Point>>(&json).unwrap(), [router.point(), Point::ResidPre]);

    let refused = |plan: Result<Plan, HookError>| match plan {
        Ok(plan) => mixture.run(&inputs(&mixture), plan).unwrap_err().to_string(),
        Err(error) => error.to_string(),
    };
    for (asked, said) in [
        (
            "text.blocks.1.mlp_in.moe.rooter",
            "`mixture` has no site `text.blocks.1.mlp_in.moe.rooter` (did you mean `text.blocks.1.mlp_in.moe.router`?)",
        ),
        (
            "text.blocks.1.moe.router",
            "`text.blocks.1.moe.router` is not a site or selector: `moe.router` is no point (did you mean `z`?)",
        ),
        (
            "text.mlp_in.moe.router",
            "`text.mlp_in.moe.router` is not a site or selector: `mlp_in.moe.router` lies inside a block \
             (did you mean `text.blocks.0.mlp_in.moe.router`?)",
        ),
    ] {
        let found = refused(Plan::new().read(asked));
        // The nearest listed point of a name that is nothing like one is not told.
        match said.split_once(" (did you mean `z`?)") {
            Some((start, _)) => assert!(found.starts_with(start), "{found}"),
            None => assert_eq!(found, said),
        }
    }
    assert_eq!(
        Point::own(Point::MlpIn, "Router", "").unwrap_err().to_string(),
        "`mlp_in.Router` is not a site or selector: `Router` is no path of words of small letters, digits and `_`"
    );
    let unknown = Region::all().of(AxisName::Expert, [EXPERTS]);
    assert_eq!(
        refused(Plan::new().change(ROUTER, unknown, Change::Zero)),
        format!("`{ROUTER}`: expert 2 is out of range, there are 2")
    );
}
