//! Image processors against Pillow and transformers, and what they refuse.

use std::path::{Path, PathBuf};

use image::{DynamicImage, GrayAlphaImage, RgbImage};
use mmlens_core::finding::{Tolerance, finite};
use mmlens_zoo::checkpoint::Checkpoint;
use mmlens_zoo::processor::{ImageProcessor, PixelBox, Processed};
use proptest::prelude::*;
use serde_json::{Value, json};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../oracles/fixtures")
}

fn processor(config: &Value) -> ImageProcessor {
    ImageProcessor::from_json("test.json", config.to_string().as_bytes()).unwrap()
}

fn refusal(config: &Value) -> String {
    ImageProcessor::from_json("test.json", config.to_string().as_bytes()).unwrap_err().to_string()
}

/// Resizing alone, with levels as values.
fn resizing(height: usize, width: usize, resample: u64) -> ImageProcessor {
    processor(&json!({
        "image_processor_type": "CLIPImageProcessor", "size": {"height": height, "width": width},
        "resample": resample, "do_center_crop": false, "do_rescale": false, "do_normalize": false,
    }))
}

fn noise(width: u32, height: u32) -> DynamicImage {
    // A multiplicative hash: every level occurs, neighbours do not resemble each other.
    let level = |x: u32, y: u32, c: u32| {
        ((x * 7919 + y * 104_729 + c * 1_299_709 + 17).wrapping_mul(2_654_435_761) >> 24) as u8
    };
    RgbImage::from_fn(width, height, |x, y| image::Rgb([level(x, y, 0), level(x, y, 1), level(x, y, 2)]))
        .into()
}

/// Values channel by channel as bytes pixel by pixel.
fn interleaved(processed: &Processed) -> Vec<u8> {
    let plane = processed.height * processed.width;
    (0..plane).flat_map(|i| [0, 1, 2].map(|c| processed.pixels[c * plane + i] as u8)).collect()
}

#[test]
fn resizing_gives_the_bytes_of_pillow() {
    let fixture = Checkpoint::open(fixtures().join("resize/resize.safetensors")).unwrap();
    let size = |text: &str| {
        let (height, width) = text.split_once('x').unwrap();
        (height.parse::<usize>().unwrap(), width.parse::<usize>().unwrap())
    };
    let mut compared = 0;
    for name in fixture.names().filter(|name| !name.starts_with("in.")) {
        let mut parts = name.split('.');
        let (filter, from, to) = (parts.next().unwrap(), parts.next().unwrap(), size(parts.next().unwrap()));
        let filters = ["nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"];
        let code = filters.iter().position(|known| *known == filter).unwrap() as u64;
        let (height, width) = size(from);
        let picture = fixture.bytes(&format!("in.{from}")).unwrap().into_owned();
        let picture = RgbImage::from_raw(width as u32, height as u32, picture).unwrap();
        let processed = resizing(to.0, to.1, code).process(&picture.into()).unwrap();
        assert_eq!((processed.height, processed.width), to);
        assert!(interleaved(&processed) == *fixture.bytes(name).unwrap(), "{name} differs");
        compared += 1;
    }
    assert_eq!(compared, 84);
}

#[test]
fn processors_give_the_numbers_of_transformers() {
    let folder = fixtures().join("processors");
    let expected = Checkpoint::open(folder.join("processors.safetensors")).unwrap();
    let cases: Vec<Value> =
        serde_json::from_slice(&std::fs::read(folder.join("cases.json")).unwrap()).unwrap();
    assert!(cases.len() >= 26);
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let picture = fixtures().join(format!("pictures/{}.png", case["picture"].as_str().unwrap()));
        let processed = processor(&case["config"]).process(&image::open(picture).unwrap()).unwrap();
        let expected_shape = expected.info(name).unwrap().shape.to_vec();
        assert_eq!(vec![3, processed.height, processed.width], expected_shape, "{name}");
        // The tolerance is that of the fixture's own note; it stands for the last bit of a division.
        let wanted = expected.floats(name).unwrap();
        Tolerance::absolute(1e-6).check(name, &processed.pixels, &wanted).unwrap();
    }
}

#[test]
fn folders_old_and_new() {
    for (model, size) in [("llava-a", 30), ("llava-b", 20), ("llava-multi", 23), ("llava-old", 24)] {
        let processor = ImageProcessor::from_dir(fixtures().join(model).join("model")).unwrap();
        assert_eq!(processor.output_size(), Some((size, size)), "{model}");
    }
    let empty = tempfile::tempdir().unwrap();
    let error = ImageProcessor::from_dir(empty.path()).unwrap_err().to_string();
    assert!(error.contains("no image processor"), "{error}");
    std::fs::write(empty.path().join("preprocessor_config.json"), "{\"size\": }").unwrap();
    let error = ImageProcessor::from_dir(empty.path()).unwrap_err().to_string();
    assert!(error.contains("preprocessor_config.json:1:10"), "{error}");
}

#[test]
fn fields_that_are_not_understood_are_refused() {
    let clip = |more: Value| {
        let mut config = json!({"image_processor_type": "CLIPImageProcessor"});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        config
    };
    let unknown = refusal(&json!({"image_processor_type": "Phi4MultimodalImageProcessor"}));
    assert!(
        unknown.starts_with(
            "test.json: the image processor is \"Phi4MultimodalImageProcessor\"; known are CLIP"
        ),
        "{unknown}"
    );
    assert!(refusal(&json!({})).starts_with("test.json: the image processor is not named"));
    for (config, message) in [
        (
            json!({"do_flip_channels": true}),
            "test.json: the field `do_flip_channels` (true) is not supported",
        ),
        (json!({"do_resize": "yes"}), "test.json: `do_resize` is \"yes\", expected true or false"),
        (json!({"resample": 9}), "test.json: `resample` is 9, expected one of Pillow's numbers 0 to 5"),
        (
            json!({"image_mean": [0.5, 0.5]}),
            "test.json: `image_mean` is [0.5,0.5], expected a number, or a list of three",
        ),
        (
            json!({"image_std": [0.5, 0.0, 0.5]}),
            "test.json: `image_std` is [0.5,0.0,0.5], expected numbers other than zero",
        ),
        (
            json!({"do_pad": true}),
            "test.json: `do_pad` is true, expected false: padding to the largest picture",
        ),
        (
            json!({"size": {"longest_edge": 4}}),
            "test.json: `size` is {\"longest_edge\":4}, expected a positive number",
        ),
        (json!({"size": 0}), "test.json: `size` is 0, expected a positive number"),
        (json!({"size": -3}), "test.json: `size` is -3, expected a positive number"),
        (
            json!({"crop_size": {"shortest_edge": 4}}),
            "test.json: `crop_size` is {\"shortest_edge\":4}, expected a number",
        ),
    ] {
        let error = refusal(&clip(config));
        assert!(error.starts_with(message), "{error}");
    }
    // These change nothing.
    processor(&clip(
        json!({"do_flip_channels": false, "crop_pct": null, "processor_class": "LlavaProcessor"}),
    ));
}

#[test]
fn pictures_of_extreme_shapes() {
    let clip = processor(&json!({"image_processor_type": "CLIPImageProcessor"}));
    for (width, height) in [(1, 1), (20_000, 3), (3, 20_000), (1, 2), (1000, 999)] {
        let processed = clip.process(&noise(width, height)).unwrap();
        assert_eq!(processed.pixels.len(), 3 * 224 * 224);
        assert!(processed.pixels.iter().all(|value| value.is_finite()));
        assert_eq!(processed.geometry.original(), (width as usize, height as usize));
    }
    let error = clip.process(&DynamicImage::new_rgb8(0, 7)).unwrap_err().to_string();
    assert_eq!(error, "the picture is 0 x 7: it has no pixels");

    let whole = processor(&json!({"image_processor_type": "CLIPImageProcessor", "do_center_crop": false}));
    let error = whole.process(&noise(20_000, 3)).unwrap_err().to_string();
    assert_eq!(error, "the processed picture would be 1493333 x 224, more than the 16777216 pixels allowed");
    let within = processor(&json!({
        "image_processor_type": "SiglipImageProcessor", "size": {"max_height": 8, "max_width": 8}
    }));
    let error = within.process(&noise(20_000, 3)).unwrap_err().to_string();
    assert_eq!(error, "a picture of 20000 x 3 would be resized to 8 x 0");
    let square = processor(&json!({"image_processor_type": "LlavaImageProcessor", "do_pad": true}));
    let error = square.process(&noise(20_000, 3)).unwrap_err().to_string();
    assert_eq!(
        error,
        "the picture padded to a square would be 20000 x 20000, more than the 90000000 pixels allowed"
    );
}

#[test]
fn colours_are_converted_only_if_asked() {
    let grey: DynamicImage = GrayAlphaImage::from_pixel(2, 2, image::LumaA([0, 64])).into();
    let vit = processor(&json!({"image_processor_type": "ViTImageProcessor"}));
    let error = vit.process(&grey).unwrap_err().to_string();
    assert_eq!(error, "the picture is La8; only Rgb8 is taken, since `do_convert_rgb` is off");
    // 64 parts of black in 255 on white: 255 - 64 = 191
    let levels = resizing(2, 2, 3).process(&grey).unwrap();
    assert_eq!(levels.pixels, [191.0; 12]);
}

#[test]
fn padding_to_a_square_uses_the_mean() {
    let llava = processor(&json!({
        "image_processor_type": "LlavaImageProcessor", "do_pad": true, "size": {"height": 4, "width": 4},
        "crop_size": 4, "do_rescale": false, "do_normalize": false,
    }));
    let picture: DynamicImage = RgbImage::from_pixel(4, 1, image::Rgb([200, 100, 50])).into();
    let processed = llava.process(&picture).unwrap();
    // one row above (3 / 2 = 1), two below; the mean of red is 0.48145466 * 255 = 122.77
    assert_eq!(processed.pixels[..16], [[122.0; 4], [200.0; 4], [122.0; 4], [122.0; 4]].concat());
    let whole = PixelBox { left: 0.0, top: 0.0, right: 4.0, bottom: 4.0 };
    let back = processed.geometry.to_original(whole).unwrap();
    assert_eq!(back, PixelBox { left: 0.0, top: 0.0, right: 4.0, bottom: 1.0 });
    assert_eq!(processed.geometry.rows(), [[0.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, 1.0]]);
    assert_eq!(processed.geometry.to_original(PixelBox { top: 2.5, ..whole }), None);
}

#[test]
fn pictures_are_turned_upright() {
    use image::ImageEncoder;
    let folder = tempfile::tempdir().unwrap();
    // Two columns, three rows: 0 1 / 2 3 / 4 5.
    let levels: Vec<u8> = (0..6u8).flat_map(|level| [level; 3]).collect();
    // What Pillow's `exif_transpose` makes of it for each orientation: mirrored, turned round, and so on.
    let upright: [(u32, [u8; 6]); 8] = [
        (2, [0, 1, 2, 3, 4, 5]),
        (2, [1, 0, 3, 2, 5, 4]),
        (2, [5, 4, 3, 2, 1, 0]),
        (2, [4, 5, 2, 3, 0, 1]),
        (3, [0, 2, 4, 1, 3, 5]),
        (3, [4, 2, 0, 5, 3, 1]),
        (3, [5, 3, 1, 4, 2, 0]),
        (3, [1, 3, 5, 0, 2, 4]),
    ];
    for (orientation, (width, expected)) in (1u8..).zip(upright) {
        // One directory of one entry: the orientation (274), a short.
        let exif =
            [b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".as_slice(), &[orientation], &[0; 6]].concat();
        let file = folder.path().join(format!("{orientation}.png"));
        let mut encoder = image::codecs::png::PngEncoder::new(std::fs::File::create(&file).unwrap());
        encoder.set_exif_metadata(exif).unwrap();
        encoder.write_image(&levels, 2, 3, image::ExtendedColorType::Rgb8).unwrap();
        let picture = mmlens_core::Picture::open(&file).unwrap().image;
        assert_eq!(picture.width(), width, "orientation {orientation}");
        let found: Vec<u8> = picture.to_rgb8().pixels().map(|pixel| pixel.0[0]).collect();
        assert_eq!(found, expected, "orientation {orientation}");
    }
}

#[test]
fn pictures_are_turned_upright_as_pillow_turns_them() {
    let folder = fixtures().join("upright");
    let text = std::fs::read_to_string(folder.join("expected.json")).unwrap();
    let expected: std::collections::BTreeMap<String, (u32, u32, Vec<u8>)> =
        serde_json::from_str(&text).unwrap();
    assert!(expected.len() > 15);
    for (name, (width, height, bytes)) in expected {
        let picture = mmlens_core::Picture::open(folder.join(&name)).unwrap().image;
        assert_eq!((picture.width(), picture.height()), (width, height), "{name}");
        assert_eq!(picture.to_rgb8().into_raw(), bytes, "{name}");
    }
}

/// Frames smaller than the canvas, transparency, disposal: what is seen is what Pillow composes.
#[test]
fn frames_of_gifs_are_composed_as_pillow_composes_them() {
    type Shown = Vec<(u32, u32, Vec<u8>)>;
    let folder = fixtures().join("gifs");
    let text = std::fs::read_to_string(folder.join("expected.json")).unwrap();
    let expected: std::collections::BTreeMap<String, Shown> = serde_json::from_str(&text).unwrap();
    assert!(expected.len() > 15);
    for (name, expected) in expected {
        let clip = mmlens_core::Clip::open(folder.join(&name), None);
        // Pillow counts in grey where there is no palette; here that is no GIF.
        if ["grey.gif", "own-palette.gif"].contains(&name.as_str()) {
            let said = clip.unwrap_err().to_string();
            assert!(said.contains(&name) && said.contains("no color table"), "{said}");
            continue;
        }
        let clip = clip.unwrap();
        assert_eq!((clip.frames.len(), clip.fps), (expected.len(), Some(10.0)), "{name}");
        let picture = mmlens_core::Picture::open(folder.join(&name)).unwrap().image;
        assert_eq!(picture, clip.frames[0], "{name}");
        for (at, (frame, (width, height, bytes))) in clip.frames.iter().zip(expected).enumerate() {
            assert_eq!((frame.width(), frame.height()), (width, height), "{name}, frame {at}");
            assert_eq!(frame.as_bytes(), bytes, "{name}, frame {at}");
        }
    }
}

/// A processor that is not named is that of the model's kind; a feature extractor is what a processor was called before.
#[test]
fn processors_of_old_files_are_inferred() {
    let picture = mmlens_core::Picture::open(fixtures().join("pictures/wide.png")).unwrap().image;
    let (mean, size) = (json!([0.1, 0.2, 0.3]), json!({"height": 9, "width": 8}));
    for (kind, name) in [
        ("clip", "CLIP"),
        ("siglip", "Siglip"),
        ("llava", "Llava"),
        ("llava_next", "LlavaNext"),
        ("smolvlm", "SmolVLM"),
        ("idefics3", "Idefics3"),
        ("vit", "ViT"),
        ("blip", "Blip"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |file: &str, value: &Value| std::fs::write(folder.path().join(file), value.to_string()).unwrap();
        let base = json!({"image_mean": mean, "size": size, "do_center_crop": false, "do_convert_rgb": true});
        let with = |field: &str, value: Value| {
            let mut fields = base.clone();
            fields[field] = value;
            write("preprocessor_config.json", &fields);
            ImageProcessor::from_dir(folder.path()).map(|processor| processor.process(&picture).unwrap())
        };
        let named = with("image_processor_type", json!(format!("{name}ImageProcessor"))).unwrap();
        assert_eq!((named.height, named.width), (9, 8));
        let older = with("feature_extractor_type", json!(format!("{name}FeatureExtractor"))).unwrap();
        assert_eq!(older, named, "{kind}");
        let error = with("image_processor_type", Value::Null).unwrap_err().to_string();
        assert!(error.contains("the image processor is not named"), "{error}");
        write("config.json", &json!({"model_type": kind}));
        assert_eq!(with("image_processor_type", Value::Null).unwrap(), named, "{kind}");
        assert_eq!(with("processor_class", json!("X")).unwrap(), named, "{kind}");
        write(
            "config.json",
            &json!({"model_type": "x", "image_processor_type": format!("{name}ImageProcessor")}),
        );
        assert_eq!(with("processor_class", json!("X")).unwrap(), named, "{kind}");
        write("config.json", &json!({"model_type": "x"}));
        assert!(with("processor_class", json!("X")).is_err());
    }
    // What a kind leaves out differs between kinds: the inference has a say.
    let sizes = ["clip", "siglip", "blip"].map(|kind| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("preprocessor_config.json"), "{}").unwrap();
        std::fs::write(folder.path().join("config.json"), json!({"model_type": kind}).to_string()).unwrap();
        let made = ImageProcessor::from_dir(folder.path()).unwrap().process(&picture).unwrap();
        (made.height, made.width, made.pixels.first().copied())
    });
    assert!(sizes[0] != sizes[1] && sizes[1] != sizes[2], "{sizes:?}");
}

#[test]
fn levels_as_values() {
    let processor = processor(&json!({
        "image_processor_type": "CLIPImageProcessor", "image_mean": 0.5, "image_std": 0.25
    }));
    // (255 / 255 - 1/2) / (1/4) = 2
    assert_eq!((processor.value(0, 255), processor.value(2, 0)), (2.0, -2.0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Cropping while resizing is the same as resizing and then cropping.
    #[test]
    fn only_what_is_kept_is_computed(
        width in 1u32..60, height in 1u32..60, edge in 1usize..50, crop in (1usize..40, 1usize..40), filter in 0u64..6,
    ) {
        let picture = noise(width, height);
        let fields = |crops: bool| json!({
            "image_processor_type": "CLIPImageProcessor", "size": edge, "crop_size": [crop.0, crop.1],
            "resample": filter, "do_center_crop": crops, "do_rescale": false, "do_normalize": false,
        });
        let whole = processor(&fields(false)).process(&picture).unwrap();
        let kept = processor(&fields(true)).process(&picture).unwrap();
        prop_assert_eq!((kept.height, kept.width), crop);
        let offset = |side: usize, wanted: usize| side as isize / 2 - wanted as isize / 2 - match (side % 2, wanted % 2) {
            // floor((side - wanted) / 2), also below zero
            (0, 1) => 1,
            _ => 0,
        };
        let (top, left) = (offset(whole.height, crop.0), offset(whole.width, crop.1));
        for channel in 0..3 {
            for row in 0..crop.0 {
                for col in 0..crop.1 {
                    let (y, x) = (row as isize + top, col as isize + left);
                    let inside = (0..whole.height as isize).contains(&y) && (0..whole.width as isize).contains(&x);
                    let at = |p: &Processed, y: usize, x: usize| p.pixels[(channel * p.height + y) * p.width + x];
                    let expected = if inside { at(&whole, y as usize, x as usize) } else { 0.0 };
                    prop_assert_eq!(at(&kept, row, col), expected);
                }
            }
        }
    }

    /// Whatever the configuration says, a picture is processed or refused.
    #[test]
    fn configurations_never_panic(
        chosen in prop::collection::vec((0usize..12, 0usize..19), 0..5), width in 1u32..40, height in 1u32..40,
    ) {
        let fields = [
            "size", "crop_size", "resample", "rescale_factor", "image_mean", "image_std", "do_resize", "do_center_crop",
            "do_pad", "do_normalize", "default_to_square", "pad_size",
        ];
        let values = [
            json!(null), json!(true), json!(false), json!(-1), json!(0), json!(1), json!(3), json!(4_294_967_295u64),
            json!(u64::MAX), json!(1e300), json!(0.5), json!("x"), json!([]), json!([1, 2]), json!([0.5, 0.25, 1e-300]),
            json!({"height": 4_294_967_295u64, "width": 1}), json!({"shortest_edge": 5, "longest_edge": 1}),
            json!({"max_height": 1, "max_width": 60}), json!({"height": 7}),
        ];
        let mut config = json!({"image_processor_type": "LlavaImageProcessor"});
        for (field, value) in chosen {
            config[fields[field]] = values[value].clone();
        }
        let processor = ImageProcessor::from_json("test", config.to_string().as_bytes());
        match processor.and_then(|processor| processor.process(&noise(width, height))) {
            Ok(processed) => {
                prop_assert_eq!(processed.pixels.len(), 3 * processed.height * processed.width);
                prop_assert_eq!(processed.geometry.rows().len(), processed.height);
                prop_assert_eq!(finite(&processed.pixels).map_err(|error| error.to_string()), Ok(()), "{}", config);
            }
            Err(error) => prop_assert!(error.to_string().split_whitespace().count() > 3, "{}", error),
        }
    }

    /// A box goes to the processed picture and back; and what comes back lies on the original.
    #[test]
    fn boxes_go_there_and_back(
        width in 1u32..300, height in 1u32..300, edge in 1usize..100, crop in (1usize..120, 1usize..120),
        corners in (0.0f64..1.0, 0.0f64..1.0, 0.0f64..1.0, 0.0f64..1.0), square: bool,
    ) {
        let config = json!({
            "image_processor_type": "LlavaImageProcessor", "do_pad": square, "size": edge, "crop_size": [crop.0, crop.1],
        });
        let geometry = processor(&config).process(&noise(width, height)).unwrap().geometry;
        prop_assert_eq!(geometry.processed(), (crop.1, crop.0));
        let (w, h) = (f64::from(width), f64::from(height));
        let area = PixelBox {
            left: corners.0.min(corners.1) * w, right: corners.0.max(corners.1) * w,
            top: corners.2.min(corners.3) * h, bottom: corners.2.max(corners.3) * h,
        };
        if let Some(there) = geometry.to_processed(area) {
            prop_assert!(there.left >= 0.0 && there.right <= crop.1 as f64 && there.bottom <= crop.0 as f64);
            let back = geometry.to_original(there).unwrap();
            // Nothing grows; and what was not cropped away comes back as it was.
            let close = |a: f64, b: f64| (a - b).abs() < 1e-6 * (w + h);
            prop_assert!(back.left >= area.left - 1e-6 && back.right <= area.right + 1e-6);
            prop_assert!(back.top >= area.top - 1e-6 && back.bottom <= area.bottom + 1e-6);
            if there.left > 0.0 && there.right < crop.1 as f64 {
                prop_assert!(close(back.left, area.left) && close(back.right, area.right));
            }
        }
        // Rows follow each other without a gap, within the original.
        let rows = geometry.rows();
        prop_assert_eq!(rows.len(), crop.0);
        for pair in rows.windows(2) {
            prop_assert_eq!(pair[0][1], pair[1][0]);
        }
        prop_assert!(rows[0][0] >= 0.0 && rows[crop.0 - 1][1] <= height as f32);
    }
}
