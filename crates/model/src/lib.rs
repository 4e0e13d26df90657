//! Analyses of mmlens on a model: from tokens to layers.
//!
//! Every method is one file and one type, made from settings that read back and run on any
//! [`Subject`](mmlens_core::Subject); it gives a [`Finding`](mmlens_core::finding::Finding). [`METHODS`] lists them, and says of each
//! what it answers, needs and costs, and when it misleads; [`FITS`] lists what learns first, and is a method then. The modules are the leaves of the survey.

pub mod architecture;
mod check;
mod contributions;
pub mod feature;
mod game;
pub mod layer;
mod moments;
pub mod neuron;
mod parts;
mod sequence;
pub mod token;

mmlens_core::methods! {
    token::integrated_gradients::IntegratedGradients,
    token::occlusion::Occlusion,
    token::kernel_shap::KernelShap,
    token::smooth_grad::SmoothGrad,
    token::attention_maps::AttentionMaps,
    architecture::saliency::Saliency,
    architecture::gradient_times_input::GradientTimesInput,
    architecture::expected_gradients::ExpectedGradients,
    architecture::grad_cam::GradCam,
    architecture::attention_relevance::AttentionRelevance,
    architecture::lime::Lime,
    architecture::rise::Rise,
    architecture::permutation_shap::PermutationShap,
    architecture::mm_shap::MmShap,
    architecture::region_swap::RegionSwap,
    neuron::exemplars::Exemplars,
    neuron::lape::Lape,
    neuron::selectivity::Selectivity,
    neuron::group_ablation::GroupAblation,
    neuron::value_vectors::ValueVectors,
    neuron::multimodal_neurons::MultimodalNeurons,
    neuron::network_dissection::NetworkDissection,
    neuron::clip_dissect::ClipDissect,
    token::sinks::Sinks,
    token::sinks_over_cases::SinksOverCases,
    token::nearest_words::NearestWords,
    token::latent_lens::LatentLens,
    token::token_ablation::TokenAblation,
    token::token_ablation_over_cases::TokenAblationOverCases,
    layer::attention_rollout::AttentionRollout,
    layer::head_measures::HeadMeasures,
    layer::attention_by_depth::AttentionByDepth,
    layer::layer_skipping::LayerSkipping,
    layer::logit_lens::LogitLens,
    layer::direct_logit_attribution::DirectLogitAttribution,
    layer::activation_patching::ActivationPatching,
    layer::causal_tracing::CausalTracing,
    layer::attribution_patching::AttributionPatching,
    layer::attention_knockout::AttentionKnockout,
    layer::edge_attribution::EdgeAttribution,
    layer::path_patching::PathPatching,
    layer::cka::Cka,
    feature::modality_gap::ModalityGap,
    feature::embedding_parts::EmbeddingParts,
    feature::text_span::TextSpan,
    feature::splice::Splice,
    feature::project_away::ProjectAway,
}

mmlens_core::fits! {
    feature::linear_probe::LinearProbe,
    feature::concepts::Concepts,
    feature::inlp::Inlp,
    layer::tuned_lens::TunedLens,
    feature::sparse_autoencoder::SparseAutoencoder,
}
