//! Opens up multimodal language models: which pixels, tokens, layers and heads led to this answer.
