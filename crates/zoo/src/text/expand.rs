//! Placeholders become as many positions as a picture has.

use super::error::TextError;

/// Token ids after expansion, and where each comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expanded {
    /// The ids.
    pub ids: Vec<u32>,
    /// For each id, what it was before.
    pub origin: Vec<Origin>,
}

/// What a position after expansion was before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The token at this place.
    Token(usize),
    /// One position of a picture.
    Picture {
        /// The place of its placeholder.
        token: usize,
        /// Which picture, in the order of the placeholders.
        picture: usize,
        /// Which of the picture's positions.
        position: usize,
    },
}

/// Replaces the placeholder of each picture by as many copies as `counts` says.
///
/// # Errors
///
/// [`TextError::Placeholders`] unless there are as many placeholders as counts.
pub fn expand_image_tokens(ids: &[u32], image_token: u32, counts: &[usize]) -> Result<Expanded, TextError> {
    let placeholders = ids.iter().filter(|&&id| id == image_token).count();
    if placeholders != counts.len() {
        return Err(TextError::Placeholders { placeholders, pictures: counts.len() });
    }
    let mut expanded = Expanded::default();
    let mut pictures = counts.iter().enumerate();
    for (token, &id) in ids.iter().enumerate() {
        let picture = if id == image_token { pictures.next() } else { None };
        match picture {
            None => {
                expanded.ids.push(id);
                expanded.origin.push(Origin::Token(token));
            }
            Some((picture, &count)) => {
                expanded.ids.extend(std::iter::repeat_n(id, count));
                let positions = (0..count).map(|position| Origin::Picture { token, picture, position });
                expanded.origin.extend(positions);
            }
        }
    }
    Ok(expanded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_repeated() {
        let expanded = expand_image_tokens(&[1, 9, 2, 9], 9, &[2, 1]).unwrap();
        assert_eq!(expanded.ids, [1, 9, 9, 2, 9]);
        let at = |token, picture, position| Origin::Picture { token, picture, position };
        assert_eq!(
            expanded.origin,
            [Origin::Token(0), at(1, 0, 0), at(1, 0, 1), Origin::Token(2), at(3, 1, 0)]
        );
        assert_eq!(expand_image_tokens(&[1, 2], 9, &[]).unwrap().ids, [1, 2]);
        assert_eq!(expand_image_tokens(&[9, 2], 9, &[0]).unwrap().ids, [2]);
    }

    #[test]
    fn placeholders_and_pictures_must_match() {
        let error = expand_image_tokens(&[1, 9, 9], 9, &[4]).unwrap_err();
        assert_eq!(error.to_string(), "2 image placeholders in the text, but 1 pictures");
    }
}
