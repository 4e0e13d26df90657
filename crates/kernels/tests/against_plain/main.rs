//! Every fused operation against the plain one: values and gradients, over shapes, views, masks and ends of the line.

#![allow(clippy::cloned_ref_to_slice_refs, reason = "lists of tensors, of which some have one")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod activations;
mod attention;
mod linear;
mod norm;
mod rotary;
mod softmax;
mod support;
mod threads;
