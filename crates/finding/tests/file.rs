//! Findings as files: what goes in comes out, and what is damaged is refused.
#![cfg(test)]

use std::fs;

use mmlens_finding::{
    Axis, FORMAT, FileError, Finding, HeardPlace, Labelled, Modality, PatchLabel, Provenance, Role,
    TokenLabel, Unit,
};
use proptest::prelude::*;
use safetensors::tensor::{Dtype, TensorView};

fn sample() -> Finding {
    let patch = PatchLabel { image: 1, tile: 2, frame: 3, row: 4, col: 5, bbox: [0.1, 7.0, 14.3, 21.0] };
    let tokens = vec![
        TokenLabel::new("<image>", Modality::Image).with_id(7).with_patch(patch),
        TokenLabel::new("röt", Modality::Text).with_bytes(3, 7),
    ];
    let axes = vec![Axis::count(Role::Layer, 2), Axis::tokens(tokens)];
    let spans = [Role::Row, Role::Column].map(|role| Axis::spans(role, 0, vec![[0.0, 7.5], [7.5, 15.0]]));
    let words = ["a", "<script>", "\"", "\u{0}"].map(str::to_owned).to_vec();
    let mut provenance = Provenance::new("lens", "shapes").with_setting("step", 0.1);
    provenance.seed = Some(u64::MAX);
    let tables = vec![
        Labelled::texts("words", axes.clone(), words).unwrap(),
        Labelled::numbers("probabilities", Unit::Probability, axes, vec![0.5, -0.0, f32::INFINITY, 1e-40])
            .unwrap(),
        Labelled::numbers("map", Unit::Logit, spans.to_vec(), vec![1.0, 2.0, 3.0, 4.0]).unwrap(),
        Labelled::numbers("empty", Unit::Count, vec![Axis::count(Role::Sample, 0)], vec![]).unwrap(),
        Labelled::scalar("gap", Unit::Nat, 0.25),
    ];
    Finding::new(provenance, tables).unwrap()
}

/// A safetensors file with this description and one tensor `t`.
fn foreign(description: &str, dtype: Dtype, shape: Vec<usize>, data: &[u8]) -> Vec<u8> {
    let view = TensorView::new(dtype, shape, data).unwrap();
    let metadata = [(FORMAT.to_owned(), description.to_owned())];
    safetensors::serialize([("t", view)], Some(metadata.into())).unwrap()
}

fn description(version: &str, unit: &str) -> String {
    let provenance = r#"{"method":"m","settings":{},"subject":"s","weights_hash":"","alterations":[],"sites":[],
        "objective":null,"baseline":null,"seed":null,"dtype":"f32","device":"flex","version":"0.1.0"}"#;
    let table =
        format!(r#"{{"name":"t","unit":"{unit}","axes":[{{"role":"head","labels":{{"count":2}}}}]}}"#);
    format!(r#"{{"version":{version},"provenance":{provenance},"tables":[{table}]}}"#)
}

#[test]
fn a_finding_comes_back_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lens.safetensors");
    sample().save(&path).unwrap();
    assert_eq!(Finding::load(&path).unwrap(), sample());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn the_same_finding_gives_the_same_bytes() {
    assert_eq!(sample().to_bytes().unwrap(), sample().to_bytes().unwrap());
    let again = Finding::from_bytes(&sample().to_bytes().unwrap()).unwrap();
    assert_eq!(again.to_bytes().unwrap(), sample().to_bytes().unwrap());
}

#[test]
fn numbers_lie_under_the_names_of_their_tables() {
    let bytes = sample().to_bytes().unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(file.tensor("probabilities").unwrap().shape(), [2, 2]);
    assert_eq!(file.tensor("gap").unwrap().data(), 0.25f32.to_le_bytes());
    assert!(file.tensor("words").is_err());
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let bytes = sample().to_bytes().unwrap();
    for len in 0..bytes.len() {
        let error = Finding::from_bytes(&bytes[..len]).unwrap_err();
        assert!(matches!(error, FileError::Container { .. }), "cut at {len}: {error}");
    }
}

#[test]
fn errors_name_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.safetensors");
    let shown = path.display();
    let message = Finding::load(&path).unwrap_err().to_string();
    assert!(message.starts_with(&format!("cannot read finding {shown}: ")), "{message}");
    fs::write(&path, &sample().to_bytes().unwrap()[..40]).unwrap();
    let message = Finding::load(&path).unwrap_err().to_string();
    let expected = format!("{shown} is not a readable finding: not a whole safetensors file: ");
    assert!(message.starts_with(&expected), "{message}");
    let nowhere = folder.path().join("no/such/folder/x.safetensors");
    let message = sample().save(&nowhere).unwrap_err().to_string();
    assert!(message.starts_with(&format!("cannot write {}: ", nowhere.display())), "{message}");
    // a folder stands where the file should go: nothing is left behind
    assert!(sample().save(folder.path()).is_err());
    let beside = folder
        .path()
        .with_file_name(format!("{}.mmlens-partial", folder.path().file_name().unwrap().to_str().unwrap()));
    assert!(!beside.exists());
}

#[test]
fn other_safetensors_files_are_refused() {
    let view = TensorView::new(Dtype::F32, vec![1], &[0; 4]).unwrap();
    let bytes = safetensors::serialize([("w", view)], None).unwrap();
    let message = Finding::from_bytes(&bytes).unwrap_err().to_string();
    assert_eq!(message, "a safetensors file without `mmlens-finding` in its metadata");
}

#[test]
fn versions_are_checked_before_anything_else() {
    let read = |description: &str| {
        Finding::from_bytes(&foreign(description, Dtype::F32, vec![2], &[0; 8])).map_err(|e| e.to_string())
    };
    assert!(read(&description("[1,0]", "logit")).is_ok());
    assert!(read(&description("[1,7]", "logit")).is_ok());
    assert_eq!(read(r#"{"version":[2,1]}"#).unwrap_err(), "format version 2.1; this version reads 1.x");
    assert_eq!(read(r#"{}"#).unwrap_err(), "format version null; this version reads 1.x");
    let message = read(&description("[1,0]", "furlong")).unwrap_err();
    assert!(message.contains("field `tables.0.unit`: unknown variant `furlong`"), "{message}");
    let message = read("{").unwrap_err();
    assert_eq!(message, "description of the finding: line 1 column 1: EOF while parsing an object");
}

#[test]
fn tensors_must_be_what_the_description_promises() {
    let read = |dtype, shape: Vec<usize>, data: &[u8]| {
        Finding::from_bytes(&foreign(&description("[1,0]", "logit"), dtype, shape, data))
            .unwrap_err()
            .to_string()
    };
    assert_eq!(read(Dtype::F32, vec![1, 2], &[0; 8]), "table `t`: F32 [1, 2], expected F32 [2]");
    assert_eq!(read(Dtype::F64, vec![2], &[0; 16]), "table `t`: F64 [2], expected F32 [2]");
    let bytes = foreign(
        &description("[1,0]", "logit").replace(r#""name":"t""#, r#""name":"u""#),
        Dtype::F32,
        vec![2],
        &[0; 8],
    );
    let message = Finding::from_bytes(&bytes).unwrap_err().to_string();
    assert_eq!(message, "table `u`: no tensor of this name, expected F32 [2]");
}

fn axis(len: usize) -> impl Strategy<Value = Axis> {
    let place = -1e4f32..1e4;
    let patch = (
        0..3usize,
        0..3usize,
        0..3usize,
        0..99usize,
        [place.clone(), place.clone(), place.clone(), place.clone()],
    )
        .prop_map(|(image, tile, frame, row, bbox)| PatchLabel {
            image,
            tile,
            frame,
            row,
            col: row + 1,
            bbox,
        });
    let modality = prop::sample::select(vec![
        Modality::Text,
        Modality::Image,
        Modality::Audio,
        Modality::Video,
        Modality::Special,
    ]);
    let bounds = [place.clone(), place.clone()];
    let heard = (0..3usize, bounds.clone(), prop::option::of(bounds))
        .prop_map(|(recording, seconds, hertz)| HeardPlace { recording, seconds, hertz });
    let token = (
        any::<String>(),
        any::<Option<u32>>(),
        any::<Option<(usize, usize)>>(),
        modality,
        prop::option::of(patch.clone()),
        prop::option::of(heard),
    )
        .prop_map(|(text, id, bytes, modality, patch, heard)| TokenLabel {
            text,
            id,
            bytes,
            modality,
            patch,
            heard,
        });
    prop_oneof![
        Just(Axis::count(Role::Layer, len)),
        prop::collection::vec(any::<String>(), len).prop_map(|names| Axis::names(Role::Concept, names)),
        prop::collection::vec(token, len).prop_map(Axis::tokens),
        prop::collection::vec(patch, len).prop_map(Axis::patches),
        prop::collection::vec([place.clone(), place], len).prop_map(|spans| Axis::spans(Role::Row, 1, spans)),
    ]
}

fn table() -> impl Strategy<Value = Labelled> {
    let lengths = prop::collection::vec(0..4usize, 0..4);
    let axes = lengths.prop_flat_map(|lengths| lengths.into_iter().map(axis).collect::<Vec<_>>());
    axes.prop_flat_map(|axes| {
        let len: usize = axes.iter().map(Axis::len).product();
        let bits = prop::collection::vec(any::<u32>(), len);
        let texts = prop::collection::vec(any::<String>(), len);
        let numbers = (Just(axes.clone()), bits).prop_map(|(axes, bits)| {
            let numbers = bits.into_iter().map(f32::from_bits).collect();
            Labelled::numbers("t", Unit::Activation, axes, numbers).unwrap()
        });
        let texts = (Just(axes), texts).prop_map(|(axes, texts)| Labelled::texts("t", axes, texts).unwrap());
        prop_oneof![numbers, texts]
    })
}

fn finding() -> impl Strategy<Value = Finding> {
    let provenance = (any::<String>(), any::<Option<u64>>(), any::<f64>(), any::<Option<String>>()).prop_map(
        |(method, seed, setting, baseline)| Provenance {
            seed,
            baseline,
            ..Provenance::new(method, "s").with_setting("x", setting)
        },
    );
    (provenance, prop::collection::vec(table(), 0..4)).prop_map(|(provenance, tables)| {
        let named = tables.into_iter().enumerate().map(|(i, table)| table.renamed(format!("t {i} ü/.")));
        Finding::new(provenance, named.collect()).unwrap()
    })
}

proptest! {
    /// Bit for bit, NaN payloads included, and byte for byte when written again.
    #[test]
    fn round_trip(finding in finding()) {
        let bytes = finding.to_bytes().unwrap();
        let again = Finding::from_bytes(&bytes).unwrap();
        prop_assert_eq!(&again.provenance, &finding.provenance);
        prop_assert_eq!(again.tables().len(), finding.tables().len());
        for (a, b) in again.tables().iter().zip(finding.tables()) {
            prop_assert_eq!((a.name(), a.unit(), a.axes()), (b.name(), b.unit(), b.axes()));
            let bits = |t: &Labelled| t.as_numbers().map(|n| n.iter().map(|v| v.to_bits()).collect::<Vec<_>>());
            prop_assert_eq!(bits(a), bits(b));
            prop_assert_eq!(a.as_texts(), b.as_texts());
        }
        prop_assert_eq!(again.to_bytes().unwrap(), bytes);
    }

    /// A changed byte gives another finding or an error, never a panic.
    #[test]
    fn a_changed_byte_never_panics(place in any::<prop::sample::Index>(), value in any::<u8>()) {
        let mut bytes = sample().to_bytes().unwrap();
        let place = place.index(bytes.len());
        bytes[place] = value;
        let _ = Finding::from_bytes(&bytes);
    }
}
