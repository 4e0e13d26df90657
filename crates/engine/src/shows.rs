//! What a row of a site shows, so that rows of several sites, or of several models, can be laid one upon the other.

use std::fmt;

use mmlens_core::finding::{PatchLabel, TokenLabel};
use mmlens_core::{AxisName, Part, Point, SiteSpec, TokenMap, TowerPosition};

use crate::label::{tower_of, tower_places};

/// What a row of a site shows.
#[derive(Debug, Clone, PartialEq)]
pub enum Shows {
    /// A position of a prompt.
    Token(TokenLabel),
    /// A patch, at a position of a tower.
    Patch(PatchLabel),
    /// A position of a tower that is no patch, such as its class token.
    Class,
    /// A row that is known by its number alone.
    Row(usize),
}

impl Shows {
    /// The id of the token, for a position of a prompt that has one.
    #[must_use]
    pub fn token(&self) -> Option<u32> {
        if let Self::Token(token) = self { token.id } else { None }
    }

    /// The patch, for a row of a tower or of a prompt that shows one.
    #[must_use]
    pub fn patch(&self) -> Option<&PatchLabel> {
        match self {
            Self::Token(token) => token.patch.as_ref(),
            Self::Patch(patch) => Some(patch),
            Self::Class | Self::Row(_) => None,
        }
    }

    /// Whether both show the same: the same patch of the same grid, or the same piece of the prompt, whatever its id in either
    /// vocabulary. Boxes of two towers may differ by a pixel of the picture.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        match (self.patch(), other.patch()) {
            (Some(a), Some(b)) => {
                let place = |patch: &PatchLabel| (patch.image, patch.tile, patch.frame, patch.row, patch.col);
                place(a) == place(b) && a.bbox.iter().zip(&b.bbox).all(|(x, y)| (x - y).abs() <= 1.0)
            }
            (None, None) => match (self, other) {
                (Self::Token(a), Self::Token(b)) => {
                    (&a.text, a.bytes, a.modality) == (&b.text, b.bytes, b.modality)
                }
                _ => self == other,
            },
            _ => false,
        }
    }
}

impl fmt::Display for Shows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, self.patch()) {
            (Self::Token(token), Some(_)) => f.write_str(&token.place().unwrap_or_default()),
            (_, Some(patch)) => write!(f, "{patch}"),
            (Self::Token(token), None) => {
                write!(f, "`{}`", token.text)?;
                token.bytes.map_or(Ok(()), |(from, to)| write!(f, " at {from}..{to}"))
            }
            (Self::Row(row), None) => write!(f, "row {row}"),
            _ => f.write_str("no patch"),
        }
    }
}

/// Which rows of a site there are that are no positions of a prompt, and what they show. What is padded behind a recording is none of
/// them: a tower hears it, and it is of no case.
pub(crate) fn of_tower(spec: &SiteSpec, dims: &[usize], rows: usize, map: &TokenMap) -> Vec<(usize, Shows)> {
    let first = spec.axes.first().map(|(axis, _)| *axis);
    let entries = match (first, spec.axes.get(1), dims) {
        (Some(AxisName::Pos), ..) => 1,
        (_, Some((AxisName::Pos, _)), [entries, ..]) if spec.tower().is_some() => *entries,
        _ => return (0..rows).map(|row| (row, Shows::Row(row))).collect(),
    };
    let (each, tower) = (rows / entries.max(1), tower_of(spec, map));
    let shows = |position: TowerPosition| match position {
        TowerPosition::Patch(patch) if tower == Part::Audio => Some(Shows::Token(map.label(patch))),
        TowerPosition::Patch(patch) => Some(Shows::Patch(patch)),
        TowerPosition::Class => Some(Shows::Class),
        TowerPosition::Padding => None,
    };
    let entry = |entry: usize| -> Vec<Option<Shows>> {
        match tower_places(map, tower, entry, entries, each) {
            Some(positions) => positions.into_iter().map(shows).collect(),
            None => (entry * each..(entry + 1) * each).map(|row| Some(Shows::Row(row))).collect(),
        }
    };
    let all = (0..entries).flat_map(entry).enumerate();
    all.filter_map(|(row, shows)| Some((row, shows?))).collect()
}

/// Keys and values of cross-attention stand in the decoder, and have the positions of what is attended to.
pub(crate) fn crosses(spec: &SiteSpec) -> bool {
    matches!(spec.site.point(), Point::CrossK | Point::CrossV)
}

#[cfg(test)]
mod tests {
    use mmlens_core::finding::{Modality, PatchLabel, TokenLabel};

    use super::Shows;

    #[test]
    fn rows_are_told_apart_by_what_they_show() {
        let patch = |col: usize, x: f32| PatchLabel {
            image: 0,
            tile: 0,
            frame: 0,
            row: 0,
            col,
            bbox: [x, 0.0, x + 8.0, 8.0],
        };
        let word = |text: &str, from: usize| TokenLabel::new(text, Modality::Text).with_bytes(from, from + 2);
        let shown = TokenLabel::new("<image>", Modality::Image).with_patch(patch(1, 8.0));
        let (shown, bare) = (Shows::Token(shown), Shows::Patch(patch(1, 8.5)));
        assert!(shown.is(&bare) && bare.is(&shown));
        for other in [
            Shows::Patch(patch(2, 8.0)),
            Shows::Patch(patch(1, 9.5)),
            Shows::Class,
            Shows::Row(1),
            Shows::Token(word("re", 1)),
        ] {
            assert!(!shown.is(&other) && !other.is(&shown), "{other}");
        }
        let red = Shows::Token(word("re", 1).with_id(7));
        assert!(red.is(&Shows::Token(word("re", 1).with_id(9))));
        assert!(!red.is(&Shows::Token(word("re", 3))) && !red.is(&Shows::Token(word("ra", 1))));
        assert!(Shows::Class.is(&Shows::Class) && Shows::Row(2).is(&Shows::Row(2)));
        assert!(!Shows::Row(2).is(&Shows::Row(3)));
        assert_eq!((red.token(), shown.token()), (Some(7), None));
        assert_eq!((red.to_string(), Shows::Row(2).to_string()), ("`re` at 1..3".into(), "row 2".into()));
    }
}
