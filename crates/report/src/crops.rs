//! Small pictures in rows, from a table whose values are their pixels.

use image::{Rgb, RgbImage};
use mmlens_finding::{Axis, Labelled, Labels, Role};

use crate::html::{text, words};
use crate::{Picture, ReportError};

/// More rows of pictures than these are counted, not shown.
const MOST_ROWS: usize = 24;

/// Whether the last axes of a table are the rows, columns and colours of pictures, which lie on no picture of the page.
pub(crate) fn holds_pictures(table: &Labelled) -> bool {
    let roles: Vec<Role> = table.axes().iter().map(|axis| axis.role).collect();
    let loose = |axis: &Axis| matches!(axis.labels, Labels::Count(_));
    table.as_numbers().is_some()
        && matches!(roles.as_slice(), [.., Role::Row, Role::Column, Role::Channel])
        && table.axes().iter().rev().skip(1).take(2).all(loose)
        && table.axes().last().is_some_and(|axis| axis.len() == 3)
}

/// The pictures of a table: along its first axis in rows, where it has more than one beside those of a picture.
///
/// # Errors
/// [`ReportError::Empty`], [`ReportError::Picture`].
pub(crate) fn crops(table: &Labelled) -> Result<String, ReportError> {
    let lead = table.rank().saturating_sub(3);
    let size = |at: usize| table.axes().get(at).map_or(0, Axis::len);
    let (height, width) = (size(lead), size(lead + 1));
    let across: usize = (1..lead).map(size).product();
    let pixels = (height * width * 3).max(1);
    let values = table.as_numbers().unwrap_or_default();
    let mut html = String::from("<div class=\"crops\">");
    let rows = values.chunks((pixels * across).max(1));
    let all = rows.len();
    for (at, row) in rows.enumerate().take(MOST_ROWS) {
        let name =
            table.axes().first().filter(|_| lead > 0).and_then(|axis| axis.label(at)).unwrap_or_default();
        html += &format!("<p><span>{}</span>", text(&name));
        for (rank, own) in row.chunks(pixels).enumerate() {
            let picture = RgbImage::from_fn(width as u32, height as u32, |x, y| {
                let from = (y as usize * width + x as usize) * 3;
                let channel = |at: usize| own.get(from + at).map_or(0, |value| value.round() as u8);
                Rgb([channel(0), channel(1), channel(2)])
            });
            let (address, (width, height)) =
                Picture::from_rgb(table.name(), &picture)?.data_uri(usize::MAX)?;
            let about = text(&format!("{} {name}, {}", words(table.name()), rank + 1));
            html += &format!("<img alt=\"{about}\" width=\"{width}\" height=\"{height}\" src=\"{address}\">");
        }
        html += "</p>";
    }
    if all > MOST_ROWS {
        html += &format!("<p class=\"note\">{} more in the file of the finding.</p>", all - MOST_ROWS);
    }
    Ok(html + "</div>")
}

#[cfg(test)]
mod tests {
    use mmlens_finding::{Axis, Labelled, Role, Unit};

    use super::{crops, holds_pictures};
    use crate::Picture;

    fn table(neurons: usize) -> Labelled {
        let axes = vec![
            Axis::names(Role::Neuron, (0..neurons).map(|at| format!("2.{at}"))),
            Axis::count(Role::Rank, 2),
            Axis::count(Role::Row, 2),
            Axis::count(Role::Column, 3),
            Axis::count(Role::Channel, 3),
        ];
        let values = (0..neurons * 36).map(|at| (at % 256) as f32).collect();
        Labelled::numbers("crops", Unit::None, axes, values).unwrap()
    }

    #[test]
    fn every_crop_is_a_picture_of_its_own_pixels() {
        use base64::Engine;
        let html = crops(&table(2)).unwrap();
        assert_eq!((html.matches("<img").count(), html.matches("<p>").count()), (4, 2));
        assert!(html.contains("<span>2.1</span>") && html.contains("alt=\"Crops 2.1, 2\""), "{html}");
        // The second of the first row: it begins with the 18th value.
        let address = html.split("base64,").nth(2).unwrap().split('"').next().unwrap();
        let bytes = base64::engine::general_purpose::STANDARD.decode(address).unwrap();
        let pixels = Picture::from_bytes("crop", bytes).unwrap().pixels().unwrap();
        assert_eq!((pixels.dimensions(), pixels.get_pixel(2, 1).0), ((3, 2), [33, 34, 35]));
        let many = crops(&table(30)).unwrap();
        assert_eq!(many.matches("<img").count(), 48);
        assert!(many.contains("6 more in the file"));
    }

    #[test]
    fn pixels_of_the_input_are_no_crops() {
        assert!(holds_pictures(&table(1)));
        let spans = |role| Axis::spans(role, 0, vec![[0.0, 1.0]]);
        let axes = vec![spans(Role::Row), spans(Role::Column), Axis::count(Role::Channel, 3)];
        assert!(!holds_pictures(&Labelled::numbers("pixels", Unit::None, axes, vec![0.0; 3]).unwrap()));
    }
}
