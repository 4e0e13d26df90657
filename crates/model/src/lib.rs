//! Analyses of mmlens, from tokens to layers: integrated gradients, occlusion, rollout, logit lens, patching.
