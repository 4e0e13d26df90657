//! Checkpoints with something planted in their weights.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors, serialize_to_file};

/// The folder of a model that ships inside, such as `shapes-llava`.
pub fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../zoo/shipped").join(name)
}

/// Weights of a checkpoint in f32, by the names of the file, with their lengths.
pub type Weights = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// Copies a checkpoint folder of one file of f32 weights to another folder, with its weights changed on the way.
///
/// # Panics
/// Where a file cannot be read or written, or holds other numbers: this is for tests.
#[allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
pub fn planted(from: &Path, into: &Path, plant: impl FnOnce(&mut Weights)) {
    std::fs::create_dir_all(into).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a checkpoint") {
        let path = entry.expect("an entry").path();
        let Some(name) = path.file_name().filter(|_| path.is_file()) else { continue };
        if path.extension().is_none_or(|own| own != "safetensors") {
            std::fs::copy(&path, into.join(name)).expect("a copy");
        }
    }
    let bytes = std::fs::read(from.join("model.safetensors")).expect("weights in one file");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let mut weights = Weights::new();
    for (name, view) in file.tensors() {
        assert_eq!(view.dtype(), Dtype::F32, "{name}");
        let number = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().expect("four bytes"));
        weights.insert(name, (view.shape().to_vec(), view.data().chunks(4).map(number).collect()));
    }
    plant(&mut weights);
    let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = weights
        .into_iter()
        .map(|(name, (dims, values))| (name, dims, values.iter().flat_map(|v| v.to_le_bytes()).collect()))
        .collect();
    let views = bytes.iter().map(|(name, dims, bytes)| {
        (name.as_str(), TensorView::new(Dtype::F32, dims.clone(), bytes).expect("values that fill the shape"))
    });
    serialize_to_file(views, None, &into.join("model.safetensors")).expect("a file");
}
