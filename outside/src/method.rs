//! A method of one's own: how much of each position's stream an attention layer wrote.

use mmlens::prelude::*;
use mmlens::serde::{Deserialize, Serialize};

/// What this method is.
const CARD: Card = Card {
    id: "attention-share",
    short: "share",
    name: "Attention's share",
    question: "How much of each position's stream did this block's attention write?",
    citation: "nobody yet",
    leaf: Leaf::Layer,
    cost: "1 forward",
    needs: &[Capability::OwnWords, Capability::Blocks(Part::Text)],
    misleads: &["What is written need not be read."],
    first: false,
};

/// Where it looks.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(crate = "mmlens::serde", default, deny_unknown_fields)]
pub struct ShareSettings {
    /// Which block.
    pub block: usize,
}

/// The method with checked settings.
#[derive(Debug, Clone)]
pub struct Share {
    settings: ShareSettings,
}

impl Share {
    fn sites(&self) -> [Site; 2] {
        [Point::AttnOut, Point::ResidMid].map(|point| Site::block(Part::Text, self.settings.block, point))
    }
}

impl Analysis for Share {
    type Input = Case;
    type Settings = ShareSettings;
    const CARD: Card = CARD;

    fn new(settings: ShareSettings) -> Result<Self, AnalysisError> {
        Ok(Self { settings })
    }

    fn settings(&self) -> &ShareSettings {
        &self.settings
    }

    fn cost(&self, _: &On<'_>, case: &Case) -> Result<Cost, AnalysisError> {
        Ok(Cost::rows(case.settling() + 1))
    }

    fn answer(&self, on: &On<'_>, case: &Case) -> Result<Answer, AnalysisError> {
        let (inputs, objective) = on.open(case)?;
        let sites = self.sites();
        let trace = on.unedited(case, (&inputs, &objective), &sites)?;
        let [wrote, holds] = [trace.get(sites[0])?, trace.get(sites[1])?].map(|x| (x.to_values(), x.dims()));
        let (wrote, holds, width) = (wrote.0?, holds.0?, holds.1[2]);
        let norm = |x: &[f32]| x.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        let share = |(a, b): (&[f32], &[f32])| (norm(a) / (norm(a) + norm(b))) as f32;
        let shares = wrote.chunks(width).zip(holds.chunks(width)).map(share).collect();
        let axes = vec![Axis::tokens(inputs.map().tokens.clone())];
        step(on.watch(), CARD.id, 1, 1)?;
        let table = Labelled::numbers("share", Unit::Ratio, axes, shares)?;
        Ok(Answer::new(vec![table], sites).explaining(&objective))
    }
}
