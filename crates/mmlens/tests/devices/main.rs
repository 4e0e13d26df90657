//! The same contract on every device that this build has: parity with the oracles, an empty plan, sweeps, gradients,
//! generation, analyses, and a sweep spread over several devices.
//!
//! Without features that is `flex`; with those of `docs/devices.md` also `ndarray`, `wgpu` and a device served on loopback. A
//! device that is built but not there fails these tests. Bounds are those of `flex`: no device has looser ones.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod analyses;
mod contract;
mod devices;
mod folders;
mod parity;
mod spread;
mod sweeps;

/// Everything that must hold on a device.
macro_rules! suite {
    ($device:ident) => {
        mod $device {
            use crate::{analyses, contract, devices, folders, parity, sweeps};

            #[test]
            fn is_named_in_findings() {
                let device = devices::open(stringify!($device));
                assert_eq!(mmlens::core::device::kind(&device), stringify!($device));
                assert!(mmlens::core::device::built().contains(&stringify!($device)));
            }

            #[test]
            fn towers_agree_with_the_oracles() {
                parity::holds(&devices::open(stringify!($device)), &folders::TOWERS);
            }

            #[test]
            fn decoders_agree_with_the_oracles() {
                parity::holds(&devices::open(stringify!($device)), &folders::DECODERS);
            }

            #[test]
            fn models_of_both_agree_with_the_oracles() {
                parity::holds(&devices::open(stringify!($device)), &folders::BOTH);
            }

            #[test]
            fn subjects_keep_their_contract() {
                contract::holds(&devices::open(stringify!($device)));
            }

            #[test]
            fn packed_sweeps_are_sweeps_one_by_one_and_those_of_the_cpu() {
                sweeps::hold(&devices::open(stringify!($device)));
            }

            #[test]
            fn analyses_find_what_they_find_on_the_cpu() {
                analyses::hold(&devices::open(stringify!($device)));
            }
        }
    };
}

suite!(flex);
#[cfg(feature = "ndarray")]
suite!(ndarray);
#[cfg(feature = "wgpu")]
suite!(wgpu);
#[cfg(feature = "remote-server")]
suite!(remote);

#[cfg(all(feature = "remote", not(feature = "remote-server")))]
compile_error!(
    "the device that these tests open as `remote` is served by themselves: add the feature `remote-server`"
);
