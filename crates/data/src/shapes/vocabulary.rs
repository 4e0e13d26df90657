//! The words of the world: what objects can be, where they can be, and every word a text may hold.

use crate::named::named;

named! {
    /// The outline of an object.
    Shape {
        /// A disc.
        Circle => "circle",
        /// An upright square.
        Square => "square",
        /// A triangle, apex up.
        Triangle => "triangle",
        /// A five-pointed star, one point up.
        Star => "star",
        /// A ring: a disc with a round hole.
        Ring => "ring",
        /// An upright cross of equal arms.
        Cross => "cross",
    }
}

named! {
    /// The colour of an object.
    Colour {
        /// Red.
        Red => "red",
        /// Green.
        Green => "green",
        /// Blue.
        Blue => "blue",
        /// Yellow.
        Yellow => "yellow",
        /// Purple.
        Purple => "purple",
        /// Orange.
        Orange => "orange",
        /// Cyan.
        Cyan => "cyan",
        /// White.
        White => "white",
    }
}

named! {
    /// The size of an object.
    Size {
        /// A radius of about 6 pixels.
        Small => "small",
        /// A radius of about 11 pixels.
        Large => "large",
    }
}

named! {
    /// A direction in the picture.
    Direction {
        /// Towards smaller x.
        Left => "left of",
        /// Towards larger x.
        Right => "right of",
        /// Towards smaller y.
        Above => "above",
        /// Towards larger y.
        Below => "below",
    }
}

named! {
    /// One of the nine equal cells of the picture, in reading order.
    Cell {
        /// Row 0, column 0.
        TopLeft => "top left",
        /// Row 0, column 1.
        Top => "top",
        /// Row 0, column 2.
        TopRight => "top right",
        /// Row 1, column 0.
        Left => "left",
        /// Row 1, column 1.
        Centre => "centre",
        /// Row 1, column 2.
        Right => "right",
        /// Row 2, column 0.
        BottomLeft => "bottom left",
        /// Row 2, column 1.
        Bottom => "bottom",
        /// Row 2, column 2.
        BottomRight => "bottom right",
    }
}

impl Shape {
    /// The noun for several of this shape.
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Circle => "circles",
            Self::Square => "squares",
            Self::Triangle => "triangles",
            Self::Star => "stars",
            Self::Ring => "rings",
            Self::Cross => "crosses",
        }
    }
}

impl Colour {
    /// The mean colour of an object of this name; each object departs from it by a slight jitter per channel.
    pub const fn rgb(self) -> [u8; 3] {
        match self {
            Self::Red => [215, 40, 45],
            Self::Green => [45, 170, 70],
            Self::Blue => [45, 80, 230],
            Self::Yellow => [240, 222, 55],
            Self::Purple => [160, 55, 195],
            Self::Orange => [243, 135, 35],
            Self::Cyan => [70, 212, 228],
            Self::White => [241, 241, 241],
        }
    }

    /// The article that goes before this colour.
    pub const fn article(self) -> &'static str {
        match self {
            Self::Orange => "an",
            _ => "a",
        }
    }
}

impl Size {
    /// The mean radius of an object of this size, in pixels.
    pub const fn radius(self) -> f32 {
        match self {
            Self::Small => 6.1,
            Self::Large => 11.1,
        }
    }
}

impl Direction {
    /// How far `other` lies on this side of `origin`, in pixels; negative on the opposite side.
    pub fn offset(self, origin: (f32, f32), other: (f32, f32)) -> f32 {
        match self {
            Self::Left => origin.0 - other.0,
            Self::Right => other.0 - origin.0,
            Self::Above => origin.1 - other.1,
            Self::Below => other.1 - origin.1,
        }
    }
}

/// The digit words, by value.
pub(super) const DIGITS: [&str; 5] = ["0", "1", "2", "3", "4"];

/// Every word that can occur in a question, an answer or a description: no duplicates, always in the same
/// order.
///
/// Words are what `text.split(' ')` yields; punctuation marks are words of their own.
pub fn vocabulary() -> Vec<&'static str> {
    let grammar = [
        "?", ",", ".", "a", "an", "the", "is", "are", "there", "what", "where", "how", "many", "big", "in",
        "colour", "shape", "size", "object", "objects", "describe", "picture", "yes", "no",
    ];
    let mut words: Vec<&'static str> = Vec::new();
    let texts = grammar
        .into_iter()
        .chain(DIGITS)
        .chain(Colour::ALL.iter().map(|colour| colour.word()))
        .chain(Size::ALL.iter().map(|size| size.word()))
        .chain(Shape::ALL.iter().map(|shape| shape.word()))
        .chain(Shape::ALL.iter().map(|shape| shape.plural()))
        .chain(Direction::ALL.iter().map(|direction| direction.word()))
        .chain(Cell::ALL.iter().map(|cell| cell.word()));
    for word in texts.flat_map(|text| text.split(' ')) {
        if !words.contains(&word) {
            words.push(word);
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_single_distinct_and_in_a_fixed_order() {
        let words = vocabulary();
        assert!(words.iter().all(|word| !word.is_empty() && !word.contains(' ')));
        let distinct: std::collections::BTreeSet<&str> = words.iter().copied().collect();
        assert_eq!(distinct.len(), words.len());
        // a model's embedding has one row a word: a change here needs new weights
        let first = [
            "?", ",", ".", "a", "an", "the", "is", "are", "there", "what", "where", "how", "many", "big",
            "in",
        ];
        assert_eq!(words[..first.len()], first);
        // grammar 24, digits 5, colours 8, sizes 2, shapes 6 and their plurals 6; "left", "of", "right", "above",
        // "below"; "top", "bottom", "centre"
        assert_eq!(words.len(), 24 + 5 + 8 + 2 + 12 + 5 + 3);
    }

    #[test]
    fn directions_point_where_they_say() {
        let (origin, other) = ((10.0, 20.0), (4.0, 50.0));
        let offsets = Direction::ALL.iter().map(|direction| direction.offset(origin, other));
        assert_eq!(offsets.collect::<Vec<_>>(), [6.0, -6.0, -30.0, 30.0]);
    }
}
