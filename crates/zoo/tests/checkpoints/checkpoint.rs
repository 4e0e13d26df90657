//! Checkpoints: what is read, what is written, and what is refused.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor};
use mmlens_zoo::ZooError;
use mmlens_zoo::checkpoint::{
    Access, Checkpoint, CheckpointError, Dtype, GenerationConfig, HostTensor, Layout, SaveSettings,
    StoredFloat, WeightSource, Weights, parse_json, save_checkpoint, save_safetensors,
};
use proptest::prelude::*;

const MODELS: [&str; 4] = ["llava-a", "llava-b", "llava-multi", "llava-old"];

fn model(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../oracles/fixtures").join(name).join("model")
}

/// A safetensors file of this header and so many bytes of data.
fn file_of(header: &str, data: usize) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(std::iter::repeat_n(0u8, data));
    file
}

fn open_bytes(bytes: Vec<u8>) -> Result<Checkpoint, CheckpointError> {
    Checkpoint::from_bytes("test", bytes.leak())
}

fn refusal(bytes: Vec<u8>) -> String {
    open_bytes(bytes).unwrap_err().to_string()
}

fn host(name: &str, shape: &[usize]) -> (String, HostTensor) {
    let count = shape.iter().product::<usize>();
    // Halves of small numbers: exact in every floating type here.
    let values = (0..count).map(|i| (i as f32 - 3.0) / 2.0).collect();
    (name.to_owned(), HostTensor::new(name, shape.to_vec(), values).unwrap())
}

fn small() -> Vec<(String, HostTensor)> {
    vec![host("b.weight", &[2, 3]), host("a.weight", &[4]), host("c.bias", &[1, 1, 2])]
}

fn saved(settings: &SaveSettings) -> (tempfile::TempDir, Checkpoint) {
    let folder = tempfile::tempdir().unwrap();
    save_checkpoint(folder.path(), small(), settings).unwrap();
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    (folder, checkpoint)
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    HostTensor::read("test", tensor).unwrap().values().to_vec()
}

#[test]
fn every_age_of_llava_has_the_same_names() {
    for name in MODELS {
        let checkpoint = Checkpoint::open(model(name)).unwrap();
        let weights = Weights::new(&checkpoint, &Device::default()).layout(Layout::LLAVA);
        for asked in [
            "model.vision_tower.embeddings.class_embedding",
            "model.vision_tower.encoder.layers.0.self_attn.q_proj.weight",
            "model.multi_modal_projector.linear_1.weight",
            "model.language_model.layers.1.mlp.gate_proj.weight",
            "model.language_model.norm.weight",
        ] {
            assert!(weights.has(asked), "{name}: {asked}");
        }
        // `llava-b` has tied embeddings.
        assert_eq!(weights.has("lm_head.weight"), name != "llava-b");
        let parts =
            ["model.vision_tower.", "model.multi_modal_projector.", "model.language_model.", "lm_head."];
        let strange: Vec<_> = weights.names().filter(|n| !parts.iter().any(|p| n.starts_with(p))).collect();
        assert!(strange.is_empty(), "{name}: {strange:?}");
    }
}

#[test]
fn halves_are_widened_exactly() {
    let table = [("llava-b", Dtype::BF16), ("llava-old", Dtype::F16)];
    for (name, dtype) in table {
        let checkpoint = Checkpoint::open(model(name)).unwrap();
        let mut compared = 0;
        for tensor in checkpoint.names().filter(|tensor| checkpoint.info(tensor).unwrap().dtype == dtype) {
            let bytes = checkpoint.bytes(tensor).unwrap();
            let halves = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
            let expected: Vec<f32> = match dtype {
                Dtype::BF16 => halves.map(|bits| f32::from_bits(u32::from(bits) << 16)).collect(),
                _ => halves.map(|bits| half::f16::from_bits(bits).to_f32()).collect(),
            };
            assert_eq!(checkpoint.floats(tensor).unwrap(), expected, "{name}: {tensor}");
            compared += 1;
        }
        assert!(compared > 40, "{name}: {compared}");
    }
}

#[test]
fn however_bytes_come_they_are_the_same() {
    let name = "model.multi_modal_projector.linear_1.weight";
    let take = |checkpoint: &Checkpoint| {
        let mut weights = Weights::new(checkpoint, &Device::default()).layout(Layout::LLAVA);
        let shape: [usize; 2] = weights.shape(name).unwrap().try_into().unwrap();
        values(weights.take(name, shape).unwrap())
    };
    let file = model("llava-a").join("model.safetensors");
    let mapped = Checkpoint::open(model("llava-a")).unwrap();
    let copied = Checkpoint::open_with(&file, Access::Copied).unwrap();
    // One byte off: no float of it is aligned any more.
    let mut shifted = vec![0u8];
    shifted.extend(std::fs::read(&file).unwrap());
    let embedded = Checkpoint::from_bytes("inside", &shifted.leak()[1..]).unwrap();
    for other in [&copied, &embedded] {
        assert_eq!(mapped.weights_hash().unwrap(), other.weights_hash().unwrap());
        assert_eq!(take(&mapped), take(other));
        assert!(mapped.names().eq(other.names()));
    }
}

#[test]
fn the_hash_is_of_weights_alone() {
    let hash = |settings: &SaveSettings| saved(settings).1.weights_hash().unwrap().to_owned();
    let plain = hash(&SaveSettings::new());
    // Python: for each name in order, sha256 over pack("<Q", len(name)) + name + pack("<Q", 3) + b"F32" +
    // pack("<Q", rank) + each side as "<Q" + the values as "<f".
    assert_eq!(plain, HASH_BY_PYTHON);
    assert_eq!(plain, hash(&SaveSettings::new().shard_bytes(16)));
    assert_eq!(plain, hash(&SaveSettings::new().metadata("note", "hello")));
    assert_ne!(plain, hash(&SaveSettings::new().dtype(StoredFloat::Bf16)));
}

const HASH_BY_PYTHON: &str = "5b161a0058e281c972ce879cbf6b0a05e4fbb7fd1ef94473d525c52d2f4236fe";

#[test]
fn what_is_written_is_read() {
    for settings in [
        SaveSettings::new(),
        SaveSettings::new().dtype(StoredFloat::Bf16),
        SaveSettings::new().shard_bytes(17).metadata("made_by", "test"),
    ] {
        let (folder, checkpoint) = saved(&settings);
        for (name, tensor) in small() {
            assert_eq!(checkpoint.floats(&name).unwrap(), tensor.values());
            assert_eq!(checkpoint.info(&name).unwrap().shape, tensor.shape());
        }
        assert_eq!(checkpoint.metadata()["format"], "pt");
        assert_eq!(
            folder.path().join("model.safetensors.index.json").exists(),
            settings.shard_bytes.is_some()
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let twice =
        save_safetensors(folder.path().join("x"), [host("a", &[1]), host("a", &[1])], &SaveSettings::new());
    assert!(twice.unwrap_err().to_string().ends_with("`a` would be written twice"));
    let wrong = HostTensor::new("a", vec![2, 2], vec![0.0; 3]).unwrap_err().to_string();
    assert_eq!(wrong, "`a`: 3 values for the shape [2, 2]");
    let nowhere = save_safetensors(folder.path().join("no/such/folder"), small(), &SaveSettings::new());
    assert!(matches!(nowhere, Err(CheckpointError::Write { .. })));
}

#[test]
fn all_that_does_not_fit_is_reported_at_once() {
    let (_folder, checkpoint) = saved(&SaveSettings::new());
    let device = Device::default();
    let error = Weights::new(&checkpoint, &device)
        .build(|weights| {
            let a: Tensor<1> = weights.take("a.weight", [5])?;
            let b: Tensor<2> = weights.take("b.weight", [2, 3])?;
            let d: Tensor<1> = weights.take("d.weight", [7])?;
            Ok((a, b, d))
        })
        .unwrap_err();
    let ZooError::Checkpoint(CheckpointError::Misfit(misfit)) = &error else { panic!("{error}") };
    assert_eq!(misfit.missing, [("d.weight".to_owned(), vec![7])]);
    assert_eq!(misfit.misshapen, [("a.weight".to_owned(), vec![4], vec![5])]);
    assert_eq!(misfit.surplus, [("c.bias".to_owned(), vec![1, 1, 2])]);
    let said = error.to_string();
    let expected = "the weights do not fit the model; 1 missing: `d.weight` [7]; 1 of another shape: `a.weight` has [4], \
                    expected [5]; 1 not used: `c.bias` [1, 1, 2]";
    assert!(said.ends_with(expected), "{said}");

    let sum = Weights::new(&checkpoint, &device)
        .ignore(&["c.*"])
        .build(|weights| {
            Ok((values(weights.take("a.weight", [4])?), values(weights.take("b.weight", [2, 3])?)))
        })
        .unwrap();
    // (i - 3) / 2
    assert_eq!(sum, (vec![-1.5, -1.0, -0.5, 0.0], vec![-1.5, -1.0, -0.5, 0.0, 0.5, 1.0]));
}

#[test]
fn one_by_one_the_first_misfit_is_an_error() {
    let (_folder, checkpoint) = saved(&SaveSettings::new());
    let mut weights = Weights::new(&checkpoint, &Device::default());
    let error = weights.take("a.weight", [2, 2]).unwrap_err().to_string();
    assert!(error.ends_with("`a.weight` has shape [4], expected [2, 2]"), "{error}");
    let error = weights.take("a.wait", [4]).unwrap_err().to_string();
    assert!(error.ends_with("no tensor `a.wait`; the nearest name is `a.weight`"), "{error}");
    assert!(weights.finish().is_err());
    let error =
        Weights::new(&checkpoint, &Device::default()).rename(|_| "same".to_owned()).finish().unwrap_err();
    assert!(
        error.to_string().ends_with("`a.weight` and `b.weight` are both `same` for the model"),
        "{error}"
    );
}

#[test]
fn integers_are_no_weights() {
    let header = r#"{"i":{"dtype":"I64","shape":[2],"data_offsets":[0,16]},"f":{"dtype":"F64","shape":[],"data_offsets":[16,24]}}"#;
    let mut bytes = file_of(header, 0);
    bytes.extend((-5i64).to_le_bytes());
    bytes.extend(6i64.to_le_bytes());
    bytes.extend(2.5f64.to_le_bytes());
    let checkpoint = open_bytes(bytes).unwrap();
    assert_eq!(checkpoint.integers("i").unwrap(), [-5, 6]);
    assert_eq!(checkpoint.floats("f").unwrap(), [2.5]);
    let error = Weights::new(&checkpoint, &Device::default()).take("i", [2]).unwrap_err().to_string();
    assert_eq!(error, "test: `i` has elements of type I64, expected F32, F16, BF16 or F64");
    assert_eq!(
        checkpoint.integers("f").unwrap_err().to_string(),
        "test: `f` has elements of type F64, expected integers within 64 bits and a sign"
    );
}

#[test]
fn damaged_headers_are_refused_by_name() {
    let tensor = |more: &str| format!(r#"{{"t":{{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}{more}}}"#);
    for (bytes, said) in [
        (vec![1, 2, 3], "it has 3 bytes, the header alone needs 8"),
        (9u64.to_le_bytes().to_vec(), "it has 8 bytes, the header alone needs 17"),
        (
            u64::MAX.to_le_bytes().to_vec(),
            "its header would have 18446744073709551615 bytes, more than the 100000000 allowed",
        ),
        (
            file_of("{\"t\": 3}", 0),
            "its header is not valid: line 1 column 7: field `t`: invalid type: integer `3`, expected an object",
        ),
        (
            file_of("[]", 0),
            "its header is not valid: line 1 column 0: invalid type: sequence, expected an object of tensors by name",
        ),
        (file_of(&"[".repeat(400), 0), "its header is not valid"),
        (
            file_of(&tensor(""), 7),
            "`t`: data_offsets is [0, 8], expected within the 7 bytes of data in the file",
        ),
        (file_of(&tensor(""), 9), "bytes 8 to 9 of its data belong to no tensor"),
        (
            file_of(&tensor(r#","u":{"dtype":"U8","shape":[2],"data_offsets":[7,9]}"#), 9),
            "bytes 7 to 8 of its data belong to `t` and to `u`",
        ),
        (
            file_of(&tensor(r#","t":{"dtype":"U8","shape":[],"data_offsets":[8,9]}"#), 9),
            "`t` stands twice in its header",
        ),
        (
            file_of(r#"{"t":{"dtype":"F31","shape":[2],"data_offsets":[0,8]}}"#, 8),
            "`t`: dtype is `F31`, expected a type of the safetensors format",
        ),
        (
            file_of(r#"{"t":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#, 8),
            "`t`: data_offsets is 8 bytes, expected 12 bytes for F32 [3]",
        ),
        (
            file_of(r#"{"t":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}}"#, 8),
            "`t`: shape is [4294967296, 4294967296], expected a tensor that fits into 8 bytes",
        ),
        (
            file_of(r#"{"t":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#, 8),
            "`t`: data_offsets is [8, 0], expected within",
        ),
        (
            file_of(r#"{"t":{"dtype":"F32","shape":[-1],"data_offsets":[0,8]}}"#, 8),
            "field `t.shape.0`: invalid value: integer `-1`",
        ),
    ] {
        let error = refusal(bytes);
        assert!(error.contains(said), "{error}\nshould say: {said}");
    }
}

#[test]
fn folders_that_are_not_whole_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let said = || Checkpoint::open(dir).unwrap_err().to_string();
    std::fs::write(dir.join("pytorch_model.bin"), "").unwrap();
    assert!(
        said().ends_with(
            "no `model.safetensors` and no `model.safetensors.index.json`; found pytorch_model.bin"
        )
    );
    assert!(
        Checkpoint::open(dir.join("nowhere")).unwrap_err().to_string().contains("could not list the folder")
    );

    save_checkpoint(dir, small(), &SaveSettings::new().shard_bytes(16)).unwrap();
    let shard = |i: u32| dir.join(format!("model-0000{i}-of-00003.safetensors"));
    let first = std::fs::read(shard(1)).unwrap();
    std::fs::write(shard(2), &first).unwrap();
    assert!(said().starts_with("`a.weight` is both in "), "{}", said());
    std::fs::write(shard(2), std::fs::read(shard(3)).unwrap()).unwrap();
    std::fs::remove_file(shard(3)).unwrap();
    let expected = "the shard `model-00003-of-00003.safetensors` is missing; 1 tensors should be in it, among them `c.bias`";
    assert!(said().ends_with(expected), "{}", said());
    save_safetensors(shard(3), [host("x", &[1])], &SaveSettings::new()).unwrap();
    assert!(
        said().ends_with("`b.weight` should be in `model-00002-of-00003.safetensors` but is not"),
        "{}",
        said()
    );
    std::fs::write(shard(1), &first[..first.len() - 1]).unwrap();
    assert!(
        said().contains("`a.weight`: data_offsets is [0, 16], expected within the 15 bytes"),
        "{}",
        said()
    );

    let index = dir.join("model.safetensors.index.json");
    std::fs::write(&index, r#"{"weight_map": {"a": "../model.safetensors"}}"#).unwrap();
    assert!(
        said().ends_with("`../model.safetensors` is not the name of a file beside the index"),
        "{}",
        said()
    );
    std::fs::write(&index, "{\n\"weight_map\": {\"a\": 3}}").unwrap();
    assert!(
        said().contains("index.json:2:21: field `weight_map.a`: invalid type: integer `3`"),
        "{}",
        said()
    );
}

/// Whatever way weights are replaced: until the new ones are whole the old ones are read, afterwards the new ones, and nothing of the
/// old ones is left.
#[test]
fn weights_are_replaced_as_a_whole() {
    let ways = [
        SaveSettings::new(),
        SaveSettings::new().shard_bytes(17),
        SaveSettings::new().shard_bytes(25),
        SaveSettings::new().shard_bytes(25),
        SaveSettings::new(),
    ];
    let folder = tempfile::tempdir().unwrap();
    let files = || {
        let names = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name());
        names.map(|name| name.to_string_lossy().into_owned()).collect::<std::collections::BTreeSet<_>>()
    };
    let tensors = |turn: usize| {
        let values = |name: &str, count: usize| {
            HostTensor::new(name, vec![count], vec![turn as f32; count])
                .map(|t| (name.to_owned(), t))
                .unwrap()
        };
        [values("a", 4), values("b", 6), values("c", 2)]
    };
    for (turn, settings) in ways.iter().enumerate() {
        let before = files();
        save_checkpoint(folder.path(), tensors(turn), settings).unwrap();
        let checkpoint = Checkpoint::open_with(folder.path(), Access::Copied).unwrap();
        for (name, tensor) in tensors(turn) {
            assert_eq!(checkpoint.floats(&name).unwrap(), tensor.values(), "turn {turn}");
        }
        let used: std::collections::BTreeSet<String> = ["a", "b", "c"]
            .iter()
            .map(|name| {
                checkpoint.info(name).unwrap().file.file_name().unwrap().to_string_lossy().into_owned()
            })
            .chain(settings.shard_bytes.map(|_| "model.safetensors.index.json".to_owned()))
            .collect();
        assert_eq!(files(), used, "turn {turn}");
        let replaced = used.intersection(&before).filter(|name| name.starts_with("model-")).count();
        assert_eq!(replaced, 0, "a shard that the index before needs was replaced");
    }
    // A shard that cannot be written leaves the checkpoint that was there.
    save_checkpoint(folder.path(), tensors(7), &SaveSettings::new().shard_bytes(17)).unwrap();
    std::fs::create_dir(folder.path().join("model-v2-00002-of-00003.safetensors")).unwrap();
    let refused = save_checkpoint(folder.path(), tensors(8), &SaveSettings::new().shard_bytes(17));
    assert!(
        refused.unwrap_err().to_string().contains("model-v2-00002-of-00003.safetensors: it is a directory")
    );
    let checkpoint = Checkpoint::open_with(folder.path(), Access::Copied).unwrap();
    assert_eq!(checkpoint.floats("b").unwrap(), [7.0; 6]);
}

#[test]
fn metadata_is_written_in_the_order_of_its_keys() {
    let folder = tempfile::tempdir().unwrap();
    let keys = ["z", "a", "step", "m", "settings"];
    let settings = keys.iter().fold(SaveSettings::new(), |settings, key| settings.metadata(key, "1"));
    let files = ["one", "two", "three"].map(|name| folder.path().join(name));
    for file in &files {
        save_safetensors(file, small(), &settings).unwrap();
    }
    let [one, rest @ ..] = files.map(|file| std::fs::read(file).unwrap());
    assert!(rest.iter().all(|other| *other == one));
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.safetensors");
    save_safetensors(&file, small(), &SaveSettings::new()).unwrap();
    let whole = std::fs::read(&file).unwrap();
    for length in 0..whole.len() {
        assert!(open_bytes(whole[..length].to_vec()).is_err(), "{length} of {}", whole.len());
        std::fs::write(&file, &whole[..length]).unwrap();
        assert!(Checkpoint::open_with(&file, Access::Copied).is_err());
    }
}

#[test]
fn older_weights_are_refused_with_what_converts_them() {
    let folder = tempfile::tempdir().unwrap();
    let said = || Checkpoint::open(folder.path()).unwrap_err().to_string();
    std::fs::write(folder.path().join("pytorch_model.bin"), "").unwrap();
    let expected = "`python oracles/to_safetensors.py FOLDER` of mmlens converts `pytorch_model.bin`: no `model.safetensors` and \
        no `model.safetensors.index.json`; found pytorch_model.bin";
    assert!(said().ends_with(expected), "{}", said());
    std::fs::rename(folder.path().join("pytorch_model.bin"), folder.path().join("tf_model.h5")).unwrap();
    assert!(!said().contains("to_safetensors"), "{}", said());
}

#[test]
fn generation_settings() {
    let folder = tempfile::tempdir().unwrap();
    let read = |text: &str| {
        std::fs::write(folder.path().join("generation_config.json"), text).unwrap();
        GenerationConfig::from_dir(folder.path())
    };
    assert_eq!(GenerationConfig::from_dir(folder.path()).unwrap(), GenerationConfig::default());
    let config =
        read(r#"{"eos_token_id": [2, 7], "bos_token_id": 1, "do_sample": true, "temperature": 0.6, "x": 1}"#)
            .unwrap();
    assert_eq!(
        (config.eos, config.bos, config.do_sample, config.temperature),
        (vec![2, 7], Some(1), true, Some(0.6))
    );
    assert_eq!(read(r#"{"eos_token_id": 2}"#).unwrap().eos, [2]);
    assert_eq!(read(r#"{"eos_token_id": null, "do_sample": null}"#).unwrap(), GenerationConfig::default());
    let error = read("{\n \"eos_token_id\": \"two\"}").unwrap_err().to_string();
    assert!(error.ends_with("generation_config.json:2:22: field `eos_token_id`: invalid type: string \"two\", expected a token id, or a list of them"), "{error}");
    let b = GenerationConfig::from_dir(model("llava-b")).unwrap();
    assert_eq!(b.eos, [328, 249]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever stands in the header, the answer is an error or a checkpoint whose tensors can all be read.
    #[test]
    fn damage_never_panics(flips in prop::collection::vec((0usize..400, any::<u8>()), 1..6)) {
        let header = r#"{"__metadata__":{"a":"b"},"t":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},"u":{"dtype":"BF16","shape":[3],"data_offsets":[8,14]}}"#;
        let mut bytes = file_of(header, 14);
        for (at, byte) in flips {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        match open_bytes(bytes) {
            Ok(checkpoint) => {
                for name in checkpoint.names() {
                    prop_assert!(checkpoint.bytes(name).is_ok());
                    let _ = checkpoint.floats(name);
                    let _ = checkpoint.integers(name);
                }
                prop_assert!(checkpoint.weights_hash().is_ok());
            }
            Err(error) => prop_assert!(error.to_string().split_whitespace().count() > 3, "{}", error),
        }
    }

    /// Text that is no JSON, or not the JSON that is wanted, is an error of some place in it.
    #[test]
    fn json_never_panics(text in "[\\[\\]{}\",:\\\\a1\n -]{0,40}") {
        let error = parse_json::<std::collections::BTreeMap<String, Vec<u8>>>("x.json", text.as_bytes());
        if let Err(error) = error {
            prop_assert!(error.to_string().starts_with("x.json:"));
        }
    }

    /// Values survive writing and reading, in one file or many.
    #[test]
    fn saving_and_opening(
        tensors in prop::collection::btree_map("[a-z.]{1,12}", prop::collection::vec(any::<f32>(), 0..20), 1..6),
        shard in prop::option::of(1u64..60),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let hosts = tensors.iter().map(|(name, values)| {
            (name.clone(), HostTensor::new(name, vec![values.len()], values.clone()).unwrap())
        });
        let mut settings = SaveSettings::new();
        settings.shard_bytes = shard;
        save_checkpoint(folder.path(), hosts, &settings).unwrap();
        let checkpoint = Checkpoint::open(folder.path()).unwrap();
        prop_assert!(checkpoint.names().eq(tensors.keys()));
        for (name, values) in &tensors {
            let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&checkpoint.floats(name).unwrap()), bits(values));
        }
    }
}
