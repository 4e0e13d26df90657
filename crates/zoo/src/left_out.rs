//! Sizes that a config leaves out: where weights do not fit, their defaults may be why.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::checkpoint::Misfit;

/// Names of a size, and what is in the names of tensors whose shape, or presence, depends on it.
const SIZES: &[(&[&str], &[&str])] = &[
    (&["hidden_size", "n_embd", "embed_dim"], &[""]),
    (&["num_hidden_layers", "n_layer", "depth"], &["layers.", "layer.", "h.", "blocks."]),
    (&["intermediate_size", "n_inner", "mlp_ratio"], &["mlp", "intermediate", "output.dense"]),
    (&["num_attention_heads", "n_head", "num_heads"], &["q_proj", "k_proj", "v_proj", "o_proj"]),
    (&["num_key_value_heads"], &["k_proj", "v_proj"]),
    (&["head_dim"], &["q_proj", "k_proj", "v_proj", "o_proj", "q_norm", "k_norm"]),
    (
        &["vocab_size"],
        &["embed_tokens", "wte", "lm_head", "token_embedding", "word_embeddings", "predictions"],
    ),
    (&["max_position_embeddings", "n_positions"], &["position_embedding", "wpe"]),
    (&["type_vocab_size"], &["token_type"]),
    (&["image_size"], &["position_embedding"]),
    (&["patch_size"], &["patch_embed", "position_embedding"]),
    (&["num_channels", "in_channels", "in_chans"], &["patch_embed"]),
    (&["temporal_patch_size"], &["patch_embed"]),
    (&["spatial_merge_size", "scale_factor"], &["merger", "connector"]),
    (&["projection_dim", "projection_size"], &["projection"]),
    (&["tie_word_embeddings"], &["lm_head"]),
    (&["attention_bias", "qkv_bias"], &["proj.bias", "qkv.bias"]),
    (&["mlp_bias"], &["gate_proj.bias", "up_proj.bias", "down_proj.bias"]),
    (&["multimodal_projector_bias"], &["multi_modal_projector.linear_1.bias"]),
    (&["vision_feature_layer"], &["multi_modal_projector"]),
    (&["id2label", "num_labels"], &["classifier"]),
];

/// The fields that `config` leaves out and that tensors which do not fit depend on.
pub(crate) fn left_out(config: &Value, misfit: &Misfit) -> Vec<String> {
    let missing = misfit.missing.iter().map(|(name, _)| name);
    let misshapen = misfit.misshapen.iter().map(|(name, ..)| name);
    let names = missing.chain(misshapen).chain(misfit.surplus.iter().map(|(name, _)| name));
    let mut fields = BTreeSet::new();
    for name in names {
        let (at, part) = part_of(config, name);
        let absent = |field: &&str| part.get(*field).is_none_or(Value::is_null);
        for (aliases, tensors) in SIZES {
            if tensors.iter().any(|part| name.contains(part)) && aliases.iter().all(absent) {
                fields.extend(aliases.first().map(|field| format!("{at}{field}")));
            }
        }
    }
    fields.into_iter().collect()
}

/// The part of a config that a tensor belongs to, and what stands before its fields.
fn part_of<'a>(config: &'a Value, tensor: &str) -> (&'static str, &'a Value) {
    let sees = ["vision", "visual"].iter().any(|word| tensor.contains(word));
    let connects = ["projector", "connector", "projection"].iter().any(|word| tensor.contains(word));
    let parts = match (sees, connects) {
        (_, true) => [("", ""), ("", "")],
        (true, _) => [("vision_config.", "vision_config_dict"), ("vision_config.", "vision_config")],
        (false, _) => [("text_config.", "text_config_dict"), ("text_config.", "text_config")],
    };
    let there =
        |(at, name): (&'static str, &str)| Some((at, config.get(name).filter(|part| part.is_object())?));
    parts.into_iter().find_map(there).unwrap_or(("", config))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_shapes_depend_on_is_named() {
        let config =
            json!({"text_config": {"hidden_size": 8, "intermediate_size": null}, "vision_config": {}});
        let misfit = |missing: &[&str]| Misfit {
            missing: missing.iter().map(|name| ((*name).to_owned(), vec![1])).collect(),
            ..Misfit::default()
        };
        let said = |names: &[&str]| left_out(&config, &misfit(names)).join(" ");
        assert_eq!(said(&["model.language_model.embed_tokens.weight"]), "text_config.vocab_size");
        assert_eq!(said(&["lm_head.weight"]), "text_config.tie_word_embeddings text_config.vocab_size");
        assert_eq!(said(&["model.language_model.norm.weight"]), "");
        let vision = "vision_config.hidden_size vision_config.image_size vision_config.patch_size";
        assert_eq!(
            said(&["model.vision_tower.embeddings.position_embedding.weight"])
                .replace("vision_config.max_position_embeddings ", ""),
            vision
        );
        let whole = left_out(&json!({}), &misfit(&["bert.embeddings.token_type_embeddings.weight"]));
        assert_eq!(whole, ["hidden_size", "type_vocab_size"]);
    }
}
