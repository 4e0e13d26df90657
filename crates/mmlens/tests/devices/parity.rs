//! Equality with transformers at every site its traces hold, gradients and greedy tokens with them.

use burn::tensor::Device;
use mmlens::zoo::certify::certify;
use mmlens_testkit::{checkpoint, fixtures};

use crate::folders::traces;

/// Every trace of some folders, within the bounds that hold on the CPU.
pub(crate) fn holds(device: &Device, folders: &[&str]) {
    for folder in folders {
        let subject =
            mmlens::zoo::open(checkpoint(folder), device).unwrap_or_else(|e| panic!("{folder}: {e}"));
        for trace in traces(folder) {
            let found = certify(subject.as_ref(), &trace, &fixtures().join("pictures")).unwrap();
            let differ: Vec<_> = found.compared.iter().filter(|c| !c.passed).collect();
            assert!(found.passed(), "{}: {differ:#?}", trace.display());
            assert!(found.compared.len() > 3, "{}: little compared", trace.display());
        }
    }
}
