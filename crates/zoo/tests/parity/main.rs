//! Equality with transformers at every site its traces hold, on tiny checkpoints with awkward shapes.
//!
//! `identities`, `maps` and `options` hold for every folder: what must be the same between runs, what the token map says, and
//! configs that say something else.
//!
//! One test per checkpoint folder; every trace file in it is a case. Bounds are those of a certificate, 1e-4 (activations)
//! and 1e-3 (gradients) of the largest value beside the error; ids and greedy tokens exact.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod every;
mod generation;
mod identities;
mod maps;
mod options;
mod redraw;

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use mmlens_zoo::certify::certify;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../oracles/fixtures")
}

fn folder(name: &str) {
    let dir = fixtures().join(name);
    let subject = mmlens_zoo::open(dir.join("model"), &Device::flex()).unwrap();
    let mut cases: Vec<PathBuf> = std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().path()).collect();
    cases.retain(|p| p.extension().is_some_and(|e| e == "safetensors"));
    cases.sort();
    assert!(!cases.is_empty(), "{}: no traces", dir.display());
    for path in cases {
        let certificate = certify(subject.as_ref(), &path, &fixtures().join("pictures")).unwrap();
        let differ: Vec<_> = certificate.compared.iter().filter(|c| !c.passed).collect();
        assert!(certificate.passed(), "{}: {differ:#?}", path.display());
        let floats = certificate.compared.iter().filter(|c| c.bound > 0.0).count();
        assert!(floats >= 3, "{}: only {floats} values compared", path.display());
    }
}

/// One test for each checkpoint.
macro_rules! checkpoints {
    ($($test:ident $folder:literal)*) => { $(
        #[test]
        fn $test() {
            folder($folder);
        }
    )* };
}

checkpoints! {
    llava_a_grouped_heads_and_biases "llava-a"
    llava_b_shards_in_bf16_with_tied_embeddings "llava-b"
    llava_multi_reads_two_feature_layers "llava-multi"
    llava_siglip_before_gemma_2 "llava-siglip"
    llava_old_layout_in_f16 "llava-old"
    llava_next_a_pictures_in_tiles "llava-next-a"
    llava_next_old_layout_in_bf16 "llava-next-old"
    smolvlm_a_tiles_with_fractional_positions "smolvlm-a"
    smolvlm_old_sparse_config_in_f16 "smolvlm-old"
    idefics3_a_shuffles_by_three_in_bf16_shards "idefics3-a"
    clip_a_ends_at_its_first_end_token "clip-a"
    clip_b_ends_at_its_largest_token_in_bf16_shards "clip-b"
    clip_old_layout_in_f16 "clip-old"
    siglip_a_pools_by_attention "siglip-a"
    siglip_2_has_another_tokenizer_in_bf16_shards "siglip-2"
    siglip_old_layout_in_f16 "siglip-old"
    qwen2_vl_uneven_sections_and_one_key_head "qwen2-vl-a"
    qwen2_vl_old_layout_in_bf16_shards "qwen2-vl-old"
    qwen2_5_vl_windows_in_two_blocks_of_three "qwen2.5-vl-a"
    qwen2_5_vl_old_layout_in_bf16_shards "qwen2.5-vl-old"
    qwen3_vl_two_injections_in_three_blocks "qwen3-vl-a"
    qwen3_vl_mergers_in_another_order_in_bf16_shards "qwen3-vl-b"
    vit_a_says_classes "vit-a"
    vit_b_without_biases_in_bf16_shards "vit-b"
    vit_old_layout_in_f16_with_a_pooler "vit-old"
    bert_a_with_a_head_of_words "bert-a"
    bert_b_bare_and_cased_in_bf16_shards "bert-b"
    bert_old_layout_in_f16 "bert-old"
    blip_a_writes_captions "blip-a"
    blip_old_writes_captions_in_f16 "blip-old"
    blip_qa_answers_in_bf16_shards "blip-qa"
    blip_itm_matches_pictures_and_texts "blip-itm"
    whisper_a_writes_in_the_language_that_is_set "whisper-a"
    whisper_en_old_settings_in_bf16_shards "whisper-en"
    whisper_old_in_f16_is_told_a_language "whisper-old"
    qwen2_audio_a_pools_an_odd_number_of_positions "qwen2-audio-a"
    qwen2_audio_old_layout_in_bf16_shards "qwen2-audio-old"
    gpt2_a_scores_divided_by_block "gpt2-a"
    gpt2_old_hub_names_and_a_sparse_config "gpt2-old"
    llama_a_tied_bare_names_in_bf16 "llama-a"
    llama_b_scaled_rotary_in_bf16_shards "llama-b"
    llama_old_layout_and_tokenizer_in_f16 "llama-old"
    mistral_a_window_in_f16 "mistral-a"
    mistral_b_without_a_window "mistral-b"
    qwen2_a_windows_by_block "qwen2-a"
    qwen3_a_norms_of_heads_in_f16 "qwen3-a"
    gemma2_a_capped_with_windows "gemma2-a"
    gemma2_b_uncapped_in_f16 "gemma2-b"
}
