//! How sure a model is: of each token, of what it says when it is asked again, and whether that is worth anything.
//!
//! | file | idea |
//! |---|---|
//! | [`token_entropy`] | one answer, token by token: entropy, margin, probability |
//! | [`semantic_entropy`] | many drawn answers, as many meanings |
//! | [`self_consistency`] | many drawn answers, a vote |
//! | [`calibration`] | a data set with right answers: is confidence right as often as it says? |
//! | [`clusters`] | texts that say the same, and entropies of what they are |
//! | [`reliability`] | calibration error, Brier score, AUROC of confidences |

pub mod calibration;
pub mod clusters;
mod drawn;
pub mod reliability;
pub mod self_consistency;
pub mod semantic_entropy;
pub mod token_entropy;
