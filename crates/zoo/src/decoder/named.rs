//! The weights of a decoder by name.

use mmlens_core::{AxisName, Part, Point, Port, Site, Through, WeightSpec};

use super::Decoder;
use crate::parts::{Named, named};

impl Decoder {
    /// Its weights, in the order of a pass. `deep` of its first blocks have something added to the stream behind them.
    pub fn named(&self, deep: usize) -> Vec<Named> {
        use AxisName::{DModel, Pos, Vocab};
        let (d, vocab, blocks) = (self.config.d_model, self.config.vocab, self.blocks.len());
        let at = |point| Site::of(Part::Text, point);
        let scale = self.config.embed_scale.map(Through::Scale);
        let embed = WeightSpec::table(
            "text.embed",
            [(Vocab, vocab), (DModel, d)],
            Port { site: at(Point::Embed), through: scale },
        );
        let mut all = vec![Named::new(embed, self.embedding.table().clone())];
        if let Some(positions) = &self.positions {
            let axes = [(Pos, self.config.max_positions), (DModel, d)];
            let spec = WeightSpec::table("text.positions", axes, Port::at(at(Point::Input)));
            all.push(Named::new(spec, positions.table().clone()));
        }
        for (i, block) in self.blocks.iter().enumerate() {
            all.extend(block.named((Part::Text, i), self.config.rope.is_some(), None));
        }
        // Behind the last block the stream is a site only if nothing more is added to it.
        let last = blocks.checked_sub(1).filter(|last| deep <= *last);
        let last = last.map(|last| Port::at(Site::block(Part::Text, last, Point::ResidPost)));
        let normed = Port::at(at(Point::FinalNorm));
        let name = "text.final_norm".to_owned();
        all.extend(named::norm(&self.norm, name, DModel, last, Some(normed.clone())));
        let logits = Port { site: at(Point::Logits), through: self.config.logit_cap.map(Through::Cap) };
        let axes = (&[(Vocab, vocab)][..], &[(DModel, d)][..]);
        let mut spec = WeightSpec::product("text.unembed", axes, Some(normed), Some(logits));
        if self.tied {
            spec = spec.tied("text.embed");
        }
        all.extend(named::product(&self.head, spec));
        all
    }
}
