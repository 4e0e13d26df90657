//! The fused operations, on tensors of `flex`.

#![allow(clippy::result_large_err, reason = "the error hands tensors back, which are large handles")]

pub(crate) mod activation;
pub(crate) mod attention;
mod gemm;
mod home;
#[cfg(target_arch = "x86_64")]
pub(crate) mod linear;
mod math;
pub(crate) mod norm;
pub(crate) mod rotary;
pub(crate) mod simd;
mod slices;
pub(crate) mod softmax;
