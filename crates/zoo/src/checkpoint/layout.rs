//! What the tensors of a model are called in files, as data.
//!
//! Models ask for their tensors by *canonical* names: those of the modules in transformers 5. Files differ from them
//! (older saves nest differently, and newer ones still write the older nesting), so a family has a [`Layout`]: a short
//! table of prefixes, tried in order.

/// How the names of one family's files become canonical names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// The family.
    pub family: &'static str,
    /// Prefixes and what stands for them; the first that fits is replaced, once.
    pub prefixes: &'static [(&'static str, &'static str)],
    /// Pieces and what stands for them, wherever they occur; every one is tried, in order, after the prefixes.
    pub inner: &'static [(&'static str, &'static str)],
}

impl Layout {
    /// Names stay as they are.
    pub const PLAIN: Self = Self { family: "plain", prefixes: &[], inner: &[] };

    /// LLaVA and its kin. Canonical: `model.vision_tower.*`, `model.multi_modal_projector.*`,
    /// `model.language_model.*` and `lm_head.weight`.
    ///
    /// The files of the hub, and what transformers 4 and 5 save, have `language_model.model.*`,
    /// `language_model.lm_head.weight`, `vision_tower.*` and `multi_modal_projector.*`; some saves have the canonical
    /// names. The tower's inner `vision_model.` comes and goes with the version.
    pub const LLAVA: Self = Self {
        family: "llava",
        prefixes: &[
            ("language_model.lm_head.", "lm_head."),
            ("language_model.model.", "model.language_model."),
            ("language_model.", "model.language_model."),
            ("vision_tower.vision_model.", "model.vision_tower."),
            ("vision_tower.", "model.vision_tower."),
            ("model.vision_tower.vision_model.", "model.vision_tower."),
            ("multi_modal_projector.", "model.multi_modal_projector."),
            ("image_newline", "model.image_newline"),
        ],
        inner: &[],
    };

    /// Idefics3 and SmolVLM: canonical `model.vision_model.*`, `model.connector.*`, `model.text_model.*` and
    /// `lm_head.weight`, in all versions. Saves of the bare body lack the `model.`.
    pub const IDEFICS3: Self = Self {
        family: "idefics3",
        prefixes: &[
            ("vision_model.", "model.vision_model."),
            ("connector.", "model.connector."),
            ("text_model.", "model.text_model."),
        ],
        inner: &[],
    };

    /// Causal language models: canonical `model.*` and `lm_head.weight`. Saves of the bare body lack the `model.`.
    pub const DECODER: Self = Self {
        family: "decoder",
        prefixes: &[
            ("embed_tokens.", "model.embed_tokens."),
            ("layers.", "model.layers."),
            ("norm.", "model.norm."),
        ],
        inner: &[],
    };

    /// GPT-2: canonical `transformer.*`. The files of the hub lack the prefix.
    pub const GPT2: Self = Self {
        family: "gpt2",
        prefixes: &[
            ("wte.", "transformer.wte."),
            ("wpe.", "transformer.wpe."),
            ("h.", "transformer.h."),
            ("ln_f.", "transformer.ln_f."),
        ],
        inner: &[],
    };

    /// Qwen-VL, all three. Canonical: `model.visual.*`, `model.language_model.*` and `lm_head.weight`.
    ///
    /// Files of transformers 4 have `visual.*` and `model.*`.
    pub const QWEN_VL: Self = Self {
        family: "qwen-vl",
        prefixes: &[
            ("model.visual.", "model.visual."),
            ("model.language_model.", "model.language_model."),
            ("visual.", "model.visual."),
            ("language_model.", "model.language_model."),
            ("model.", "model.language_model."),
        ],
        inner: &[],
    };

    /// Qwen2-Audio. Canonical: `model.audio_tower.*`, `model.multi_modal_projector.*`, `model.language_model.*` and `lm_head.weight`.
    ///
    /// The files of the hub, which transformers 4 saves, have `audio_tower.*`, `multi_modal_projector.*`, `language_model.model.*` and
    /// `language_model.lm_head.weight`.
    pub const QWEN2_AUDIO: Self = Self {
        family: "qwen2-audio",
        prefixes: &[
            ("language_model.lm_head.", "lm_head."),
            ("language_model.model.", "model.language_model."),
            ("audio_tower.", "model.audio_tower."),
            ("multi_modal_projector.", "model.multi_modal_projector."),
        ],
        inner: &[],
    };

    /// ViT: canonical `vit.*` with the names CLIP gives the parts of a tower, and `classifier.*`. Files of transformers 4,
    /// which 5 still writes, have `vit.encoder.layer.*`; in memory it is `vit.layers.*`.
    pub const VIT: Self = Self {
        family: "vit",
        prefixes: &[
            ("vit.layers.", "vit.encoder.layers."),
            ("vit.encoder.layer.", "vit.encoder.layers."),
            ("vit.layernorm.", "vit.post_layernorm."),
            ("vit.embeddings.cls_token", "vit.embeddings.class_embedding"),
            ("vit.embeddings.position_embeddings", "vit.embeddings.position_embedding.weight"),
            ("vit.embeddings.patch_embeddings.projection.", "vit.embeddings.patch_embedding."),
        ],
        inner: &[
            (".layernorm_before.", ".layer_norm1."),
            (".layernorm_after.", ".layer_norm2."),
            (".attention.attention.query.", ".self_attn.q_proj."),
            (".attention.attention.key.", ".self_attn.k_proj."),
            (".attention.attention.value.", ".self_attn.v_proj."),
            (".attention.output.dense.", ".self_attn.out_proj."),
            (".attention.q_proj.", ".self_attn.q_proj."),
            (".attention.k_proj.", ".self_attn.k_proj."),
            (".attention.v_proj.", ".self_attn.v_proj."),
            (".attention.o_proj.", ".self_attn.out_proj."),
            (".intermediate.dense.", ".mlp.fc1."),
            (".output.dense.", ".mlp.fc2."),
        ],
    };

    /// BERT: canonical `bert.*` and `cls.*`. Saves of the bare body lack the `bert.`; the oldest call a norm's weight `gamma`
    /// and its bias `beta`.
    pub const BERT: Self = Self {
        family: "bert",
        prefixes: &[
            ("embeddings.", "bert.embeddings."),
            ("encoder.", "bert.encoder."),
            ("pooler.", "bert.pooler."),
        ],
        inner: &[("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias")],
    };

    /// BLIP: `vision_model.*` with the names CLIP gives the parts of a tower, `text_decoder.bert.*`, `text_decoder.cls.*` and
    /// `text_encoder.*` with BERT's.
    pub const BLIP: Self = Self {
        family: "blip",
        prefixes: &[(
            "vision_model.embeddings.position_embedding",
            "vision_model.embeddings.position_embedding.weight",
        )],
        inner: &[(".self_attn.projection.", ".self_attn.out_proj.")],
    };

    /// The canonical name of a tensor that a file calls `name`.
    #[must_use]
    pub fn canonical(&self, name: &str) -> String {
        let fits = self.prefixes.iter().find_map(|(from, to)| name.strip_prefix(from).map(|rest| (to, rest)));
        let name = fits.map_or_else(|| name.to_owned(), |(to, rest)| format!("{to}{rest}"));
        self.inner.iter().fold(name, |name, (from, to)| name.replace(from, to))
    }
}

/// Tensors that files hold and no model asks for: buffers that follow from the configuration.
pub const KNOWN_BUFFERS: &[&str] =
    &["*.position_ids", "position_ids", "*.rotary_emb.inv_freq", "*.masked_bias", "*.num_batches_tracked"];

/// Whether `name` fits `pattern`, in which `*` stands for any run of characters.
pub(super) fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llava_names_of_every_age() {
        let same = [
            (
                "language_model.model.layers.0.mlp.up_proj.weight",
                "model.language_model.layers.0.mlp.up_proj.weight",
            ),
            ("model.language_model.norm.weight", "model.language_model.norm.weight"),
            ("language_model.lm_head.weight", "lm_head.weight"),
            ("lm_head.weight", "lm_head.weight"),
            ("vision_tower.vision_model.pre_layrnorm.bias", "model.vision_tower.pre_layrnorm.bias"),
            ("vision_tower.pre_layrnorm.bias", "model.vision_tower.pre_layrnorm.bias"),
            ("model.vision_tower.vision_model.pre_layrnorm.bias", "model.vision_tower.pre_layrnorm.bias"),
            ("model.vision_tower.pre_layrnorm.bias", "model.vision_tower.pre_layrnorm.bias"),
            ("multi_modal_projector.linear_1.bias", "model.multi_modal_projector.linear_1.bias"),
        ];
        for (file, canonical) in same {
            assert_eq!(Layout::LLAVA.canonical(file), canonical);
        }
    }

    #[test]
    fn patterns() {
        assert!(fits("*.position_ids", "vision_model.embeddings.position_ids"));
        assert!(fits("a.*.c", "a.b.c") && fits("a.*", "a.") && fits("*", "") && fits("a*a", "aa"));
        assert!(!fits("a*a", "a") && !fits("a.*.c", "a.c") && !fits("position_ids", "x.position_ids"));
        assert!(fits("*b*b", "abb") && !fits("*b*b", "ab"));
    }
}
