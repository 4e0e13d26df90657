//! Inference under mmlens: decoding by several branches, uncertainty and calibration, answers that are drawn and counted.
//!
//! A decoder is a way to write ([`Decoder`]) and a method that reads what is written ([`Vcd`], [`Pai`], [`Dola`]). How sure a model is: [`uncertainty`]. `docs/inference.md` says
//! which to use when.

pub mod context;
pub mod decoding;
pub mod reasoning;
pub mod steering;
pub mod uncertainty;

pub use decoding::{DECODERS, Decoder, Decoding};
pub use steering::caa::Steering;

mmlens_core::methods! {
    decoding::vcd::Vcd,
    decoding::pai::Pai,
    decoding::dola::Dola,
    uncertainty::token_entropy::TokenEntropy,
    uncertainty::semantic_entropy::SemanticEntropy,
    uncertainty::self_consistency::SelfConsistency,
    uncertainty::calibration::Calibration,
    reasoning::early_answering::EarlyAnswering,
    context::in_context::InContext,
}

mmlens_core::fits! {
    steering::caa::Caa,
}
