//! A sweep spread over devices is that of one.

use burn::tensor::Device;
use mmlens::core::{Inputs, Subject, Unwatched, device};
use mmlens::engine::Progress;

use crate::devices;
use crate::sweeps::{ROUNDING, at_most, opened, other, sweep, swept, values};

/// Few variants in a pack, so that there are many packs to hand out.
const ROWS: usize = 3;

/// The sweep over copies on these devices, and on the CPU alone.
fn both(devices: &[Device]) -> (Vec<f32>, Vec<f32>) {
    let copies: Vec<(Box<dyn Subject>, Inputs)> = devices.iter().map(opened).collect();
    let lent: Vec<(&dyn Subject, &Inputs)> =
        copies.iter().map(|(subject, inputs)| (subject.as_ref(), inputs)).collect();
    let (subject, inputs) = opened(&device::host());
    // What is patched in comes from the CPU, whatever the devices.
    let sweep = sweep(inputs.positions(), &other(subject.as_ref()));
    let mut progress = Progress::new(&Unwatched, "sweep", sweep.len());
    let spread = values(sweep.run_over(&lent, &at_most(ROWS), &mut progress).unwrap());
    assert_eq!(progress.done(), sweep.len());
    (spread, swept(subject.as_ref(), &inputs, &sweep, &at_most(ROWS)))
}

#[test]
fn over_the_cpu_twice_not_a_bit_differs() {
    let (spread, alone) = both(&[device::host(), device::host()]);
    assert_eq!(spread, alone);
}

#[test]
fn over_one_device_of_every_kind() {
    let (spread, alone) = both(&devices::all());
    ROUNDING.check("all devices and the CPU", &spread, &alone).unwrap();
}

/// Each serves the CPU, with another kind of arithmetic than the kernels of this process.
#[cfg(feature = "remote-server")]
#[test]
fn over_two_remote_devices() {
    let devices = [devices::served(0), devices::served(1)];
    assert!(devices[0] != devices[1]);
    let (spread, alone) = both(&devices);
    ROUNDING.check("two servers and the CPU", &spread, &alone).unwrap();
}
