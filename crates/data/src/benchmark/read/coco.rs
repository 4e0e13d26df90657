//! COCO: pictures with captions, with things that are marked in them, or with both.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::fields::Fields;
use super::frame::Cut;
use super::join::Join;
use super::records::Records;
use super::source::{Items, picture};
use crate::benchmark::error::cut;
use crate::benchmark::regions::Outline;
use crate::benchmark::{Item, Marked, ReadError};

/// `{"images": [{"id": 1, "file_name": "...", "width": 640, "height": 480}, ...], "annotations": [{"id": 1, "image_id": 1, "caption":
/// "..."} or {"id": 1, "image_id": 1, "category_id": 1, "bbox": [x, y, w, h], "segmentation": ..., "area": 1.5, "iscrowd": 0}, ...],
/// "categories": [{"id": 1, "name": "person"}, ...]}`
pub(super) struct Coco {
    pictures: Records,
    captions: Option<Annotations>,
    instances: Option<(Annotations, BTreeMap<u64, String>)>,
    images: PathBuf,
}

struct Annotations {
    records: Records,
    by_picture: Join,
}

impl Annotations {
    fn open(file: &Path) -> Result<Self, ReadError> {
        let mut pairs = Vec::new();
        let records =
            Records::open(file, Cut::Elements { under: Some("annotations") }, 0, |index, record| {
                let picture = Fields::of_json(file, record)?.whole("image_id")?;
                // No more than MOST_RECORDS.
                pairs.extend(u32::try_from(index).map(|index| (picture, index)));
                Ok(())
            })?;
        Ok(Self { records, by_picture: Join::of(pairs) })
    }

    fn of_picture(&self, id: u64) -> impl Iterator<Item = Result<Fields<'_>, ReadError>> {
        let read = |index: &u32| Fields::of_json(self.records.file(), &self.records.get(*index as usize)?);
        self.by_picture.get(id).iter().map(read)
    }
}

fn categories(file: &Path) -> Result<BTreeMap<u64, String>, ReadError> {
    let mut names = BTreeMap::new();
    Records::open(file, Cut::Elements { under: Some("categories") }, 0, |_, record| {
        let mut fields = Fields::of_json(file, record)?;
        let (id, name) = (fields.whole("id")?, fields.text("name")?);
        match names.insert(id, name) {
            None => Ok(()),
            Some(other) => {
                let found = format!("{id}, as category `{}` has", cut(&other));
                Err(fields.wrong("id", found, "a number of its own"))
            }
        }
    })?;
    Ok(names)
}

impl Coco {
    /// A file of captions, of instances, or one of each; the pictures are those of the first.
    pub(super) fn open(
        captions: Option<&Path>,
        instances: Option<&Path>,
        images: PathBuf,
    ) -> Result<Self, ReadError> {
        let first = captions.or(instances).ok_or_else(|| ReadError::Source {
            reader: "coco",
            found: "no file".to_owned(),
            expected: "captions or instances".to_owned(),
        })?;
        let pictures = Records::open(first, Cut::Elements { under: Some("images") }, 0, |_, _| Ok(()))?;
        let captions = captions.map(Annotations::open).transpose()?;
        let instances = instances
            .map(|file| Ok::<_, ReadError>((Annotations::open(file)?, categories(file)?)))
            .transpose()?;
        Ok(Self { pictures, captions, instances, images })
    }
}

fn marked(
    mut fields: Fields<'_>,
    names: &BTreeMap<u64, String>,
    size: Option<[usize; 2]>,
) -> Result<Marked, ReadError> {
    let category = fields.whole("category_id")?;
    let name = names
        .get(&category)
        .ok_or_else(|| fields.wrong("category_id", category.to_string(), "one of the categories"))?
        .clone();
    let bbox = fields.numbers("bbox")?;
    let crowd = match fields.maybe("iscrowd") {
        None => false,
        Some(value) => match value.as_u64() {
            Some(crowd @ 0..=1) => crowd == 1,
            _ => return Err(fields.wrong("iscrowd", value.to_string(), "0 or 1")),
        },
    };
    let outline = match fields.maybe("segmentation") {
        None => None,
        Some(Value::Array(list)) if list.is_empty() => None,
        Some(value) => Some(
            Outline::of_coco(&value, size)
                .map_err(|(found, expected)| fields.wrong("segmentation", found, expected))?,
        ),
    };
    Ok(Marked { name, bbox, outline, crowd })
}

impl Items for Coco {
    fn len(&self) -> usize {
        self.pictures.len()
    }

    fn item(&self, index: usize) -> Result<Item, ReadError> {
        let record = self.pictures.get(index)?;
        let mut fields = Fields::of_json(self.pictures.file(), &record)?;
        let (id, file) = (fields.whole("id")?, fields.text("file_name")?);
        let size = match (fields.has("width"), fields.has("height")) {
            (true, true) => Some([fields.whole("width")? as usize, fields.whole("height")? as usize]),
            _ => None,
        };
        let mut item = Item {
            id: id.to_string(),
            pictures: vec![picture(&self.images, &file)],
            group: id.to_string(),
            size,
            ..Item::default()
        };
        for fields in self.captions.iter().flat_map(|captions| captions.of_picture(id)) {
            item.captions.push(fields?.text("caption")?);
        }
        if let Some((instances, names)) = &self.instances {
            for fields in instances.of_picture(id) {
                item.marked.push(marked(fields?, names, size)?);
            }
        }
        Ok(Item { extra: fields.rest(), ..item })
    }
}
