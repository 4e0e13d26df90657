//! The network: a tower, and text models of post-norm blocks that attend to it.

use burn::tensor::{Int, Tensor, TensorData};
use mmlens_core::{
    Anatomy, AxisName, Batch, Inputs, LogitsAt, Part, Point, Port, Run, Site, SiteSpec, WeightSpec,
};

use super::{BlipConfig, BlipTask};
use crate::ZooError;
use crate::bert::{Stack, Tokens, WordHead, first_of};
use crate::checkpoint::WeightSource;
use crate::parts::{
    Context, KvCache, Linear, Masking, Named, Norm, Padding, Reach, chosen, named, picked, selected_logits,
    selected_states,
};
use crate::vision::VisionTower;

/// The network.
#[derive(Debug, Clone)]
pub struct BlipModel {
    /// The image tower.
    pub vision: VisionTower,
    norm: Norm,
    /// What reads a question, where there is one to answer.
    encoder: Option<Stack>,
    /// What writes, or matches.
    pub text: Stack,
    head: Head,
    bos: u32,
}

#[derive(Debug, Clone)]
enum Head {
    Words(WordHead),
    Match(Linear),
}

/// The site of a stack whose cross-attention looks at so many patches.
fn looking(mut spec: SiteSpec, patches: usize) -> SiteSpec {
    let wanted = match spec.site.point() {
        Point::CrossK | Point::CrossV => AxisName::Pos,
        Point::CrossScores | Point::CrossPattern => AxisName::Key,
        _ => return spec,
    };
    let keys = spec.axes.iter_mut().filter(|(axis, _)| *axis == wanted);
    keys.for_each(|(_, length)| *length = Some(patches));
    spec
}

/// What a text model attends to, without saying yet from how many positions.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    states: Tensor<3>,
    /// Padding at the start and the end of each row; none for pictures.
    pads: Vec<usize>,
    tails: Vec<usize>,
}

impl Seen {
    /// Goes on with these rows, which exist, in this order.
    pub(crate) fn keep(&mut self, rows: &[usize]) {
        self.states = chosen(&self.states, rows);
        (self.pads, self.tails) = (picked(&self.pads, rows), picked(&self.tails, rows));
    }

    fn context(&self, queries: usize) -> Context {
        let padding = Padding { pads: &self.pads, tails: &self.tails };
        let masking = Masking::across(padding, queries, self.states.dims()[1]);
        Context { states: self.states.clone(), masking }
    }
}

impl BlipModel {
    /// Takes all weights.
    ///
    /// # Errors
    /// A tensor that is missing or misshapen.
    pub fn take(config: &BlipConfig, weights: &mut impl WeightSource) -> Result<Self, ZooError> {
        let (stack, d) = (config.text.clone(), config.text.d_model);
        let vision = VisionTower::take(config.vision.clone(), weights, "vision_model")?;
        let norm =
            Norm::layer(weights, "vision_model.post_layernorm", config.vision.d_model, config.vision.eps)?;
        let (encoder, text, head) = match config.task {
            BlipTask::Match => {
                let text = Stack::take(stack, Part::Text, weights, "text_encoder")?;
                (None, text, Head::Match(Linear::take(weights, "itm_head", d, 2, true)?))
            }
            task => {
                let encoder = match task {
                    BlipTask::Answer => {
                        Some(Stack::take(stack.clone(), Part::Encoder, weights, "text_encoder")?)
                    }
                    _ => None,
                };
                let text = Stack::take(stack.clone(), Part::Text, weights, "text_decoder.bert")?;
                let words = config.tied.then(|| text.words().clone());
                let prefix = "text_decoder.cls.predictions";
                (encoder, text, Head::Words(WordHead::take(&stack, weights, prefix, words.as_ref())?))
            }
        };
        Ok(Self { vision, norm, encoder, text, head, bos: config.bos })
    }

    /// The same for pictures of so many patches along a side.
    pub(crate) fn cropped(&self, side: usize) -> Self {
        Self { vision: self.vision.cropped(side), ..self.clone() }
    }

    /// Its sites, in the order of a pass.
    pub fn sites(&self) -> Vec<SiteSpec> {
        use AxisName::{Batch, DModel, Image, Pos, Vocab};
        let mut sites = self.vision.sites();
        let stream =
            [(Image, None), (Pos, Some(self.vision.tokens())), (DModel, Some(self.vision.config().d_model))];
        sites.push(SiteSpec::new(Site::of(Part::Vision, Point::FinalNorm), stream));
        let patches = self.vision.tokens();
        match &self.encoder {
            Some(encoder) => {
                sites.extend(encoder.sites().into_iter().map(|spec| looking(spec, patches)));
                sites.extend(self.text.sites());
            }
            None => sites.extend(self.text.sites().into_iter().map(|spec| looking(spec, patches))),
        }
        let (d, vocab) = (self.text.config().d_model, self.text.config().vocab);
        let (positions, said) = match self.head {
            Head::Words(_) => (None, vocab),
            Head::Match(_) => {
                let pooled = [(Batch, None), (DModel, Some(d))];
                sites.push(SiteSpec::new(Site::of(Part::Text, Point::Pooled), pooled));
                (Some(1), 2)
            }
        };
        let logits = [(Batch, None), (Pos, positions), (Vocab, Some(said))];
        sites.push(SiteSpec::new(Site::of(Part::Text, Point::Logits), logits));
        sites
    }

    /// The sizes of its parts.
    pub fn anatomy(&self) -> Vec<Anatomy> {
        let parts = [
            Some(self.vision.anatomy()),
            self.encoder.as_ref().map(Stack::anatomy),
            Some(self.text.anatomy()),
        ];
        parts.into_iter().flatten().collect()
    }

    /// Its weights by name: of the tower's blocks and last norm, of the text models, and of the head.
    pub(crate) fn named(&self) -> Vec<Named> {
        use AxisName::{DModel, Vocab};
        let at = |part, point| Site::of(part, point);
        let (mut all, name) = (self.vision.named(), "vision.final_norm".to_owned());
        let mut seen = at(Part::Vision, Point::FinalNorm);
        all.extend(named::norm(&self.norm, name, DModel, self.vision.end(), Some(Port::at(seen))));
        if let Some(encoder) = &self.encoder {
            all.extend(encoder.named(Some(seen)));
            seen = at(Part::Encoder, Point::FinalNorm);
        }
        all.extend(self.text.named(Some(seen)));
        match &self.head {
            Head::Words(head) => all.extend(head.named()),
            Head::Match(head) => {
                let [classes, d] = head.weight().dims();
                let [from, to] =
                    [Point::Pooled, Point::Logits].map(|point| Some(Port::at(at(Part::Text, point))));
                let axes = (&[(Vocab, classes)][..], &[(DModel, d)][..]);
                all.extend(named::product(head, WeightSpec::product("text.classifier", axes, from, to)));
            }
        }
        all
    }

    /// Logits, `[batch, asked, vocab]` (of a match `[batch, 1, 2]`); `None` if the pass ended before.
    ///
    /// # Errors
    /// Whatever a site reports; rows that do not show one picture each, tokens or positions there are not.
    pub fn forward(&self, inputs: &Inputs, run: &mut Run) -> Result<Option<Tensor<3>>, ZooError> {
        Ok(self.read(inputs, None, run)?.map(|(logits, _)| logits))
    }

    /// As [`Self::forward`], with what the text model attended to, to go on from.
    pub(crate) fn read(
        &self,
        inputs: &Inputs,
        cache: Option<&mut KvCache>,
        run: &mut Run,
    ) -> Result<Option<(Tensor<3>, Seen)>, ZooError> {
        let Some(seen) = self.see(inputs, run)? else { return Ok(None) };
        let Batch { ids, pads, tails, .. } = &**inputs;
        let padding = Padding { pads, tails };
        let reach = if matches!(self.head, Head::Match(_)) { Reach::Both } else { Reach::Before };
        let Some(encoder) = &self.encoder else {
            let context = seen.context(inputs.positions());
            let logits =
                self.write(Tokens { ids, padding, reach }, inputs.logits_at, &context, cache, run)?;
            return Ok(logits.map(|logits| (logits, seen)));
        };
        let (questions, answers) = self.parted(inputs)?;
        let length = questions.first().map_or(0, Vec::len);
        let context = seen.context(length);
        let question = Tokens { ids: &questions, padding, reach: Reach::Both };
        let Some(states) = encoder.forward(question, Some(&context), None, run)? else { return Ok(None) };
        let seen = Seen { states, pads: pads.clone(), tails: tails.clone() };
        let context = seen.context(answers.first().map_or(0, Vec::len));
        let none = vec![0; answers.len()];
        let padding = Padding { pads: &none, tails: &none };
        let logits =
            self.write(Tokens { ids: &answers, padding, reach }, inputs.logits_at, &context, cache, run)?;
        Ok(logits.map(|logits| (logits, seen)))
    }

    /// Goes on from a cache with one token for each row, `[batch, 1, vocab]`.
    pub(crate) fn go_on(
        &self,
        ids: &[Vec<u32>],
        pads: &[usize],
        seen: &Seen,
        cache: &mut KvCache,
        run: &mut Run,
    ) -> Result<Option<Tensor<3>>, ZooError> {
        let none = vec![0; ids.len()];
        let pads = if self.encoder.is_some() { &none } else { pads };
        let tokens = Tokens { ids, padding: Padding { pads, tails: &none }, reach: Reach::Before };
        let context = seen.context(1);
        self.write(tokens, LogitsAt::Last, &context, Some(cache), run)
    }

    /// What states behind the text model's last sum would say, `[rows, d]` to `[rows, vocab]`, of a match to `[rows, 2]`.
    pub fn read_out(&self, states: Tensor<2>) -> Tensor<2> {
        let normed = self.text.last_norm().apply(states);
        match &self.head {
            Head::Words(head) => head.say(normed, None),
            Head::Match(head) => head.apply(normed),
        }
    }

    /// The tower's states for every row.
    fn see(&self, inputs: &Inputs, run: &mut Run) -> Result<Option<Seen>, ZooError> {
        let wrong = |found: String| ZooError::Value {
            field: "inputs".to_owned(),
            found,
            expected: "rows that show one picture each".to_owned(),
        };
        let shown = |own: &Vec<usize>| match own.as_slice() {
            [image] => Ok(*image as i64),
            own => Err(wrong(format!("a row of {} pictures", own.len()))),
        };
        let shown: Vec<i64> = inputs.seen.of_rows.iter().map(shown).collect::<Result<_, _>>()?;
        let pixels = inputs.seen.values.clone().ok_or_else(|| wrong("no picture".to_owned()))?;
        let last = self.vision.config().blocks;
        let states = self.vision.forward(pixels.rank_of("vision.pixels")?, &[last], run)?;
        let Some(x) = states.and_then(|mut states| states.pop()).filter(|_| !run.done()) else {
            return Ok(None);
        };
        let x = run.at(Site::of(Part::Vision, Point::FinalNorm), self.norm.apply(x))?;
        if run.done() {
            return Ok(None);
        }
        let states = match shown.iter().copied().eq(0..x.dims()[0] as i64) {
            true => x,
            false => {
                let (rows, device) = (shown.len(), x.device().without_autodiff());
                x.select(0, Tensor::<1, Int>::from_data(TensorData::new(shown, [rows]), &device))
            }
        };
        Ok(Some(Seen { states, pads: Vec::new(), tails: Vec::new() }))
    }

    fn write(
        &self,
        tokens: Tokens<'_>,
        logits_at: LogitsAt,
        context: &Context,
        cache: Option<&mut KvCache>,
        run: &mut Run,
    ) -> Result<Option<Tensor<3>>, ZooError> {
        let pads = tokens.padding.pads;
        let Some(x) = self.text.forward(tokens, Some(context), cache, run)? else { return Ok(None) };
        let logits = match &self.head {
            Head::Words(head) => {
                let x = selected_states(x, logits_at, run)?;
                selected_logits(x, self.text.config().vocab, run, |x, tokens| head.say(x, tokens))
            }
            Head::Match(head) => {
                let pooled = run.at(Site::of(Part::Text, Point::Pooled), first_of(x, pads))?;
                let pooled = selected_states(pooled.unsqueeze_dim(1), logits_at, run)?;
                selected_logits(pooled, 2, run, |x, classes| match classes {
                    Some(classes) => head.only(classes).apply(x),
                    None => head.apply(x),
                })
            }
        };
        Ok(Some(logits?))
    }

    /// What is written so far in each row, and the padding it begins with: a caption, or what there is of an answer.
    ///
    /// # Errors
    /// Answers that do not begin at one place.
    pub(crate) fn written(&self, inputs: &Inputs) -> Result<Vec<(Vec<u32>, usize)>, ZooError> {
        match &self.encoder {
            Some(_) => Ok(self.parted(inputs)?.1.into_iter().map(|ids| (ids, 0)).collect()),
            None => Ok(inputs.ids.iter().cloned().zip(inputs.pads.iter().copied()).collect()),
        }
    }

    /// Questions, and what of the answers is there: what follows the first token that begins one, or that token alone.
    #[allow(clippy::type_complexity, reason = "two lists of rows")]
    fn parted(&self, inputs: &Inputs) -> Result<(Vec<Vec<u32>>, Vec<Vec<u32>>), ZooError> {
        let begun = |row: usize| {
            let ids = inputs.ids.get(row)?;
            let from = inputs.pads.get(row).copied().unwrap_or(0);
            ids.iter().enumerate().skip(from).find(|(_, id)| **id == self.bos).map(|(at, _)| at)
        };
        let first = begun(0);
        if let Some(row) = (1..inputs.rows()).find(|row| begun(*row) != first) {
            let place = |at: Option<usize>| at.map_or_else(|| "nowhere".to_owned(), |at| format!("at {at}"));
            return Err(ZooError::Value {
                field: format!("where the answer of row {row} begins"),
                found: place(begun(row)),
                expected: format!("{}, as in row 0", place(first)),
            });
        }
        let Some(at) = first else {
            return Ok((inputs.ids.clone(), vec![vec![self.bos]; inputs.rows()]));
        };
        let early = inputs.pads.iter().any(|pad| *pad >= at) || inputs.tails.iter().any(|tail| *tail > 0);
        if early {
            return Err(ZooError::Value {
                field: "where the answers begin".to_owned(),
                found: format!("position {at}"),
                expected: "behind questions, in rows that are not padded at their end".to_owned(),
            });
        }
        Ok(inputs.ids.iter().map(|ids| (ids[..at].to_vec(), ids[at..].to_vec())).unzip())
    }
}
