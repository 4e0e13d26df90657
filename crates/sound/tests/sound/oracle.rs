//! Files and numbers of `oracles/fixtures/sound`.

use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};

/// The recordings that are read.
pub(crate) const FILES: [&str; 16] = [
    "pcm_u8.wav",
    "pcm_16.wav",
    "pcm_24.wav",
    "pcm_32.wav",
    "float.wav",
    "double.wav",
    "ulaw.wav",
    "alaw.wav",
    "stereo.wav",
    "three.wav",
    "mono.flac",
    "stereo.flac",
    "mono.mp3",
    "stereo.mp3",
    "mono.ogg",
    "stereo.ogg",
];

pub(crate) fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../oracles/fixtures/sound").join(name)
}

pub(crate) fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap()
}

/// Arrays by their name.
pub(crate) struct Oracle(Vec<u8>);

impl Oracle {
    pub(crate) fn open(name: &str) -> Self {
        Self(bytes(&format!("{name}.safetensors")))
    }

    /// The length of each axis, and the values, row by row.
    pub(crate) fn array(&self, name: &str) -> (Vec<usize>, Vec<f64>) {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let array = file.tensor(name).unwrap_or_else(|_| panic!("no {name}"));
        let values = match array.dtype() {
            Dtype::F32 => each(array.data()).map(|b| f64::from(f32::from_le_bytes(b))).collect(),
            Dtype::F64 => each(array.data()).map(f64::from_le_bytes).collect(),
            Dtype::I32 => each(array.data()).map(|b| f64::from(i32::from_le_bytes(b))).collect(),
            Dtype::I64 => each(array.data()).map(|b| i64::from_le_bytes(b) as f64).collect(),
            other => panic!("{name} is of {other:?}"),
        };
        (array.shape().to_vec(), values)
    }

    pub(crate) fn values(&self, name: &str) -> Vec<f64> {
        self.array(name).1
    }

    pub(crate) fn singles(&self, name: &str) -> Vec<f32> {
        self.values(name).into_iter().map(|value| value as f32).collect()
    }

    pub(crate) fn number(&self, name: &str) -> usize {
        self.values(name)[0] as usize
    }
}

fn each<const N: usize>(data: &[u8]) -> impl Iterator<Item = [u8; N]> {
    data.chunks_exact(N).map(|bytes| bytes.try_into().unwrap())
}

/// The sum of sines, each given as hertz, amplitude, phase.
pub(crate) fn sines(parts: &[f64], rate: u32, samples: usize) -> Vec<f32> {
    let value = |at: usize| {
        let seconds = at as f64 / f64::from(rate);
        let sine = |part: &[f64]| part[1] * (std::f64::consts::TAU * part[0] * seconds + part[2]).sin();
        parts.chunks(3).map(sine).sum::<f64>() as f32
    };
    (0..samples).map(value).collect()
}

/// The largest difference of two arrays of one length, which must be numbers.
pub(crate) fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    assert!(a.iter().chain(b).all(|value| value.is_finite()));
    // no NaN: all are finite, as asserted above
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}
