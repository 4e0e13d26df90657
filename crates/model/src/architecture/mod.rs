//! Architectures, analysed: maps of what an answer comes from, by gradients, by attention and by passes over parts that are there or not.

pub mod attention_relevance;
pub mod expected_gradients;
pub mod grad_cam;
pub mod gradient_times_input;
pub mod lime;
pub mod mm_shap;
pub mod permutation_shap;
pub mod region_swap;
pub mod rise;
pub mod saliency;
