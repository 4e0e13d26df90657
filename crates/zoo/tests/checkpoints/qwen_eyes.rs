//! What Qwen-VL is shown: token ids and pixels as transformers' processors make them, and labels that lead back to the pictures.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use image::{DynamicImage, RgbImage};
use mmlens_core::finding::{Modality, PatchLabel, Tolerance};
use mmlens_core::{Anatomy, Clip, Inputs, Picture, Run, Sample, SiteSpec, Subject, Words};
use mmlens_zoo::ZooError;
use mmlens_zoo::decoder::Decoder;
use mmlens_zoo::parts::{KvCache, Named};
use mmlens_zoo::qwen_vl::{Expected, Patches, QwenEyes, QwenVlConfig, RowPlan};
use mmlens_zoo::vlm::{Network, Vlm, VlmParts};
use proptest::prelude::*;
use safetensors::SafeTensors;
use serde_json::{Value, json};

const MODELS: [&str; 6] =
    ["qwen2-vl-a", "qwen2-vl-old", "qwen2.5-vl-a", "qwen2.5-vl-old", "qwen3-vl-a", "qwen3-vl-b"];

/// A network that is never asked.
#[derive(Debug)]
struct Nothing;

impl Network for Nothing {
    fn sites(&self) -> Vec<SiteSpec> {
        Vec::new()
    }

    fn anatomy(&self) -> Vec<Anatomy> {
        Vec::new()
    }

    fn text(&self) -> &Decoder {
        panic!("there is no decoder")
    }

    fn named(&self) -> Vec<Named> {
        Vec::new()
    }

    fn forward(
        &self,
        _: &Inputs,
        _: Option<&mut KvCache>,
        _: &Device,
        _: &mut Run,
    ) -> Result<Option<Tensor<3>>, ZooError> {
        Ok(None)
    }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../oracles/fixtures")
}

fn json_at(path: PathBuf) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn expected(folder: &Path) -> Expected {
    let config = json_at(folder.join("config.json"));
    let token = |field: &str| config[field].as_u64().unwrap() as u32;
    let side = config["vision_config"]["patch_size"].as_u64().unwrap() as usize;
    Expected {
        patches: Patches { side, frames: 2, merge: 2 },
        image_token: token("image_token_id"),
        video_token: token("video_token_id"),
        steps_apart: config["model_type"] == "qwen3_vl",
    }
}

fn open(name: &str) -> Vlm {
    let folder = fixtures().join(name).join("model");
    let parts = VlmParts::from_dir(&folder, &Device::flex()).unwrap();
    let eyes = QwenEyes::from_dir(&folder, &parts.tokenizer, expected(&folder)).unwrap();
    Vlm::new(parts, Nothing, eyes).unwrap()
}

fn picture(name: &Value) -> Picture {
    Picture::open(fixtures().join(format!("pictures/{}.png", name.as_str().unwrap()))).unwrap()
}

fn sample(row: &Value) -> Sample {
    let list = |name: &str| row.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let words = match row.get("ask").and_then(Value::as_str) {
        Some(question) => Words::Question(question.to_owned()),
        None => Words::Prompt(row["prompt"].as_str().unwrap().to_owned()),
    };
    let fps = row.get("fps").and_then(Value::as_f64);
    let clip = |frames: &Value| {
        let frames = frames.as_array().unwrap().iter().map(|f| picture(f).image).collect();
        Clip::new("clip", frames, fps)
    };
    Sample::new(list("images").iter().map(picture).collect(), words)
        .with_clips(list("videos").iter().map(clip).collect())
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

fn longs(bytes: &[u8]) -> Vec<i64> {
    bytes.chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap())).collect()
}

/// Ids, rotary positions and pixels of one recorded case; batches one row at a time.
fn same(subject: &Vlm, config: &QwenVlConfig, path: &Path) {
    let name = path.display().to_string();
    let bytes = std::fs::read(path).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let about: Value = serde_json::from_str(&header.metadata().as_ref().unwrap()["about"]).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let rows: Vec<Inputs> =
        about["rows"].as_array().unwrap().iter().map(|row| subject.encode(&sample(row)).unwrap()).collect();
    let ids = file.tensor("input_ids").unwrap();
    let theirs = longs(ids.data());
    let (places, rowwise) = (file.tensor("position_ids").unwrap(), rows.len());
    let places = longs(places.data());
    for (row, ours) in rows.iter().enumerate() {
        let length = ids.shape()[1];
        let theirs = &theirs[row * length..(row + 1) * length];
        let ours: Vec<i64> = ours.ids[0].iter().map(|id| i64::from(*id)).collect();
        assert_eq!(ours, theirs[length - ours.len()..], "{name}: ids of row {row}");
        let (here, pad) = (&rows[row], length - ours.len());
        let plan =
            RowPlan::new(config, (row, &here.ids[0], 0), &here.seen.of_rows[0], &here.seen.grids).unwrap();
        for (at, ours) in plan.positions.iter().enumerate() {
            let theirs = [0, 1, 2].map(|axis| places[(axis * rowwise + row) * length + pad + at] as usize);
            assert_eq!(*ours, theirs, "{name}: place {at} of row {row}");
        }
    }
    let Ok(theirs) = file.tensor("pixel_values") else {
        assert!(rows.iter().all(|row| row.seen.values.is_none()), "{name}");
        return;
    };
    // Pictures of all rows come before clips of all rows there.
    let (mut ours, mut clips) = (Vec::new(), Vec::new());
    for row in rows.iter().filter(|row| row.seen.values.is_some()) {
        let pixels = row.seen.values.as_ref().unwrap();
        let (values, width) = (pixels.to_values().unwrap(), pixels.dims()[1]);
        let pictures =
            row.seen.grids.iter().filter(|g| g.seconds.is_none()).map(|g| g.rows * g.cols).sum::<usize>();
        ours.extend_from_slice(&values[..pictures * width]);
        clips.extend_from_slice(&values[pictures * width..]);
    }
    ours.extend(clips);
    let theirs = floats(theirs.data());
    Tolerance::relative(1e-6).check(&format!("{name}: pixels"), &ours, &theirs).unwrap();
}

#[test]
fn ids_places_and_pixels_are_those_of_transformers() {
    for name in MODELS {
        let subject = open(name);
        let mut cases: Vec<PathBuf> =
            std::fs::read_dir(fixtures().join(name)).unwrap().map(|e| e.unwrap().path()).collect();
        cases.retain(|p| p.extension().is_some_and(|e| e == "safetensors"));
        assert!(cases.len() >= 5, "{name}");
        let config = QwenVlConfig::read(&json_at(fixtures().join(name).join("model/config.json"))).unwrap();
        cases.iter().for_each(|path| same(&subject, &config, path));
    }
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let from = fixtures().join("qwen3-vl-a/model");
    for file in ["tokenizer.json", "tokenizer_config.json", "config.json"] {
        std::fs::copy(from.join(file), folder.path().join(file)).unwrap();
    }
    let parts = VlmParts::from_dir(&from, &Device::flex()).unwrap();
    let settings = json_at(from.join("processor_config.json"));
    let said = |part: &str, field: &str, value: Value| {
        let mut settings = settings.clone();
        settings[part][field] = value;
        std::fs::write(folder.path().join("processor_config.json"), settings.to_string()).unwrap();
        let own = expected(folder.path());
        QwenEyes::from_dir(folder.path(), &parts.tokenizer, own)
            .map_or_else(|e| e.to_string(), |_| String::new())
    };
    assert_eq!(said("image_processor", "do_pad", json!(true)), "");
    assert!(
        said("image_processor", "patch_size", json!(5)).contains("patch_size of the processor of pictures")
    );
    assert!(said("video_processor", "merge_size", json!(3)).contains("merge_size of the processor of clips"));
    assert!(said("video_processor", "resample", json!(1)).contains("`resample` is 1"));
    assert!(said("image_processor", "do_stretch", json!(1)).contains("`do_stretch` (1) is not supported"));
    assert!(said("image_processor", "size", json!({"height": 3, "width": 4})).contains("`size`"));
    let wrong = Expected { image_token: 3, ..expected(&from) };
    let error = QwenEyes::from_dir(&from, &parts.tokenizer, wrong).unwrap_err().to_string();
    assert!(error.contains("image_token_id") && error.contains("<|image_pad|>"), "{error}");

    let subject = open("qwen2-vl-a");
    let narrow = Picture::new("thread", RgbImage::new(3, 700));
    let error = subject.encode(&Sample::ask(narrow, "What?")).unwrap_err().to_string();
    assert!(error.contains("thread: the picture is 3 x 700: one side is more than 200 times"), "{error}");
    let clip = Clip::new("film", Vec::new(), None);
    let sample = Sample::new(Vec::new(), Words::Question("What?".to_owned())).with_clips(vec![clip]);
    let error = subject.encode(&sample).unwrap_err().to_string();
    assert!(error.contains("film: the clip has no frames"), "{error}");
}

fn blank(width: u32, height: u32) -> Arc<DynamicImage> {
    Arc::new(DynamicImage::from(RgbImage::new(width, height)))
}

/// The patches of a picture, one frame of which they cover: every row and column once, side by side to the edges.
fn tiles(patches: &[PatchLabel], (width, height): (u32, u32)) {
    let rows = patches.iter().map(|p| p.row).max().unwrap() + 1;
    let cols = patches.iter().map(|p| p.col).max().unwrap() + 1;
    assert_eq!(patches.len(), rows * cols);
    for (i, patch) in patches.iter().enumerate() {
        let [x0, y0, x1, y1] = patch.bbox;
        assert_eq!((patch.row, patch.col), (i / cols, i % cols));
        assert!(x0 < x1 && y0 < y1);
        assert_eq!(x0 == 0.0, patch.col == 0);
        assert_eq!(y0 == 0.0, patch.row == 0);
        assert_eq!(x1 == width as f32, patch.col + 1 == cols);
        assert_eq!(y1 == height as f32, patch.row + 1 == rows);
        if patch.col > 0 {
            assert_eq!(patches[i - 1].bbox[2], x0);
        }
        if patch.row > 0 {
            assert_eq!(patches[i - cols].bbox[3], y0);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn positions_lead_to_pixels_and_back(
        model in 0_usize..MODELS.len(),
        pictures in prop::collection::vec((1_u32..120, 1_u32..120), 0..3),
        clips in prop::collection::vec((2_usize..7, 4_u32..60, 4_u32..60), 0..3),
    ) {
        thread_local! {
            static SUBJECTS: Vec<Vlm> = MODELS.iter().map(|name| open(name)).collect();
        }
        SUBJECTS.with(|subjects| {
            let subject = &subjects[model];
            let own = expected(&fixtures().join(MODELS[model]).join("model")).patches;
            let shown = pictures.iter().map(|(w, h)| Picture { image: blank(*w, *h), ..Picture::new("p", DynamicImage::default()) });
            let films = clips.iter().map(|(n, w, h)| Clip::new("c", vec![blank(*w, *h); *n], Some(2.0)));
            let sample = Sample::new(shown.collect(), Words::Question("¿Qué es 円?".to_owned())).with_clips(films.collect());
            let inputs = subject.encode(&sample).unwrap();
            let map = inputs.map();
            assert_eq!(map.len(), inputs.positions());

            let sizes: Vec<(u32, u32)> =
                pictures.iter().copied().chain(clips.iter().map(|(_, w, h)| (*w, *h))).collect();
            assert_eq!(map.pictures, sizes);
            assert_eq!([inputs.seen.grids.len(), map.views.len(), inputs.seen.of_rows[0].len()], [sizes.len(); 3]);
            let patches: usize = inputs.seen.grids.iter().map(|g| g.frames * g.rows * g.cols).sum();
            assert_eq!(map.patches.len(), patches);
            assert_eq!(inputs.seen.values.as_ref().map_or(0, |p| p.dims()[0]), patches);
            let shown = map.of(Modality::Image).len() + map.of(Modality::Video).len();
            assert_eq!(shown * own.merge * own.merge, patches);

            let mut start = 0;
            for (image, (grid, view)) in inputs.seen.grids.iter().zip(&map.views).enumerate() {
                assert_eq!(view.image, image);
                assert_eq!((view.rows.len(), view.cols.len()), (grid.rows * own.side, grid.cols * own.side));
                let positions = map.picture(image);
                let (rows, cols) = (grid.rows / own.merge, grid.cols / own.merge);
                assert_eq!(positions.len(), grid.frames * rows * cols);
                let labels: Vec<PatchLabel> = positions.iter().map(|p| map.tokens[*p].patch.unwrap()).collect();
                let mut frames = BTreeSet::new();
                for step in labels.chunks(rows * cols) {
                    tiles(step, sizes[image]);
                    assert!(frames.insert(step[0].frame));
                }
                // Every position is found again from the middle of its box.
                for (position, label) in positions.iter().zip(&labels) {
                    let [x0, y0, x1, y1] = label.bbox;
                    let (x, y) = ((x0 + x1) / 2.0, (y0 + y1) / 2.0);
                    let found = map.covering(image, [x, y, x, y]);
                    let here: Vec<usize> = found
                        .into_iter()
                        .filter(|p| map.tokens[*p].patch.unwrap().frame == label.frame)
                        .collect();
                    assert_eq!(here, [*position]);
                }
                // Patches of the tower lie within the position they are merged into, in its order.
                let own_patches = &map.patches[start..start + grid.frames * grid.rows * grid.cols];
                for (group, label) in own_patches.chunks(own.merge * own.merge).zip(&labels) {
                    for (i, patch) in group.iter().enumerate() {
                        assert_eq!((patch.image, patch.frame), (label.image, label.frame));
                        let inner = (label.row * own.merge + i / own.merge, label.col * own.merge + i % own.merge);
                        assert_eq!((patch.row, patch.col), inner);
                        assert!(patch.bbox[0] >= label.bbox[0] && patch.bbox[2] <= label.bbox[2]);
                        assert!(patch.bbox[1] >= label.bbox[1] && patch.bbox[3] <= label.bbox[3]);
                    }
                }
                start += own_patches.len();
            }
        });
    }
}
