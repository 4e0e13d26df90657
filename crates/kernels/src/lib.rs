//! Operations that models spend their time in, fused for the CPU, each with its own backward pass.
//!
//! On Burn's `flex` backend, in f32, an operation here is one pass over memory in vector instructions on all cores: the
//! best the processor has, found at run time (AVX-512, AVX2 with FMA, or what every processor has; see [`Path`]). Everywhere
//! else, on another backend or in another precision, it is [`plain`]: the same formula in Burn's own tensor operations, which
//! is also what every operation is tested against, values and gradients, to 1e-5.
//!
//! How many threads there are changes no bit: work is cut by the shapes alone, and no sum is shared between threads.
//!
//! An operation writes into the buffer it is given if nothing else holds it: pass ownership, not clones. Gradients flow to
//! the activations through the fused backward pass; an operation whose weights are tracked takes the plain path.
//!
//! What each of them brings is measured by `cargo bench --bench kernels`; those that bring nothing are not here.

mod activation;
mod attention;
#[cfg(feature = "flex")]
mod fast;
mod linear;
mod masking;
mod norm;
mod path;
pub mod plain;
mod rotary;

pub use activation::{Curve, activate, gate};
pub use attention::{AttentionSettings, attention, softmax};
pub use linear::{lay_out, linear};
pub use masking::{Masking, Padding, Reach};
pub use norm::{layer_norm, rms_norm};
pub use path::{Path, PathError};
pub use rotary::rotate;
