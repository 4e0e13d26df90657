//! What mmlens methods share: gradients at sites, path integrals, packed sweeps, perturbation.
