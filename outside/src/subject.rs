//! A model of one's own, with a place of its own: a router that shares a word among experts.

use mmlens::burn::tensor::activation::softmax;
use mmlens::burn::tensor::{Int, TensorData};
use mmlens::prelude::*;

const WIDTH: usize = 3;
const EXPERTS: usize = 2;
const VOCAB: usize = 5;

/// One block of two experts, mixed by a router.
pub struct Mixture {
    embed: Tensor<2>,
    router: Tensor<2>,
    experts: [Tensor<2>; EXPERTS],
    unembed: Tensor<2>,
    shares: Site,
    sites: Vec<SiteSpec>,
    anatomy: Vec<Anatomy>,
}

fn matrix(seed: u64, rows: usize, cols: usize) -> Tensor<2> {
    let values: Vec<f32> = (0..rows * cols).map(|i| 2.0 * Seed(seed).at(i as u64).unit() - 1.0).collect();
    Tensor::from_data(TensorData::new(values, [rows, cols]), &Device::flex())
}

fn at(point: Point) -> Site {
    Site::block(Part::Text, 0, point)
}

impl Mixture {
    pub fn new() -> Result<Self, HookError> {
        use AxisName::{Batch, DModel, Expert, Pos, Vocab};
        let router = Point::own(Point::MlpIn, "moe.router", "Shares of the experts: softmax(mlp_in R).")?;
        let spec = |site, last, wide| SiteSpec::new(site, [(Batch, None), (Pos, None), (last, Some(wide))]);
        let text = |point| Site::of(Part::Text, point);
        Ok(Self {
            embed: matrix(1, VOCAB, WIDTH),
            router: matrix(2, WIDTH, EXPERTS),
            experts: [matrix(3, WIDTH, WIDTH), matrix(4, WIDTH, WIDTH)],
            unembed: matrix(5, WIDTH, VOCAB),
            shares: at(router),
            sites: vec![
                spec(at(Point::ResidPre), DModel, WIDTH),
                spec(at(Point::MlpIn), DModel, WIDTH),
                spec(at(router), Expert, EXPERTS),
                spec(at(Point::MlpOut), DModel, WIDTH),
                spec(at(Point::ResidPost), DModel, WIDTH),
                spec(text(Point::Logits), Vocab, VOCAB),
            ],
            anatomy: vec![Anatomy {
                part: Part::Text,
                blocks: 1,
                heads: 1,
                kv_heads: 1,
                d_model: WIDTH,
                d_head: WIDTH,
                d_mlp: EXPERTS * WIDTH,
                made_for: None,
            }],
        })
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
        "seeds 1 to 5".to_owned()
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
        sample.unanswered(self.name())?;
        sample.unheard(self.name())?;
        let Words::Prompt(text) = &sample.words else { return Err(self.refuse("it takes a prompt")) };
        let label = |letter: char| TokenLabel::new(letter.to_string(), Modality::Text);
        Inputs::text(self.tokens(text)?, text.chars().map(label).collect())
    }

    fn forward(&self, inputs: &Inputs, run: &mut Run) -> Result<Output, SubjectError> {
        let ids: Vec<i64> = inputs.ids.iter().flatten().map(|id| i64::from(*id)).collect();
        let count = ids.len();
        let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, [count]), &Device::flex());
        let x = self.embed.clone().select(0, ids).reshape([inputs.rows(), inputs.positions(), WIDTH]);
        let x = run.at(at(Point::ResidPre), x)?;
        let read = run.at(at(Point::MlpIn), x.clone())?;
        let shares = softmax(read.clone().matmul(self.router.clone().unsqueeze()), 2);
        let shares: Tensor<3> = run.at(self.shares, shares)?;
        let each = self.experts.iter().map(|expert| read.clone().matmul(expert.clone().unsqueeze()));
        let each = Tensor::stack::<4>(each.collect(), 2);
        let mixed = (each * shares.unsqueeze_dim::<4>(3)).sum_dim(2).squeeze_dim::<3>(2);
        let x = x + run.at(at(Point::MlpOut), mixed)?;
        let x = run.at(at(Point::ResidPost), x)?;
        let last = inputs.positions().saturating_sub(1);
        let x = if inputs.logits_at == LogitsAt::Last { x.narrow(1, last, 1) } else { x };
        let logits = x.matmul(self.unembed.clone().unsqueeze());
        Ok(Output::of_logits(run.at(Site::of(Part::Text, Point::Logits), logits)?))
    }

    fn decode(&self, ids: &[u32]) -> Result<String, SubjectError> {
        Ok(ids.iter().map(|id| self.token(*id)).collect())
    }

    fn token(&self, id: u32) -> String {
        char::from_u32(u32::from(b'a') + id).map_or_else(|| id.to_string(), String::from)
    }

    fn tokens(&self, text: &str) -> Result<Vec<u32>, SubjectError> {
        let id = |byte: u8| u32::from(byte).checked_sub(u32::from(b'a')).filter(|id| (*id as usize) < VOCAB);
        text.bytes().map(id).collect::<Option<_>>().ok_or_else(|| self.refuse("it knows a to e"))
    }
}
