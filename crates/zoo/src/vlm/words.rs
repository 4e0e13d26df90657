//! From a prompt with placeholders to token ids and what each position is.

use mmlens_core::TokenMap;
use mmlens_core::finding::{Modality, TokenLabel};

use super::{Expansion, Eyes, Placeholder, Seen};
use crate::text::{ChatTemplate, TextError, Tokenizer};

/// Why a prompt and its pictures or recordings do not fit.
#[derive(Debug, thiserror::Error)]
pub enum WordsError {
    /// Another number of placeholders than pictures.
    #[error("the prompt has {found} {what} placeholders (`{text}`), but {given} {what}s were given")]
    Placeholders {
        /// `picture`, `clip` or `recording`.
        what: &'static str,
        /// The placeholder.
        text: String,
        /// Placeholders in the prompt.
        found: usize,
        /// Pictures, clips or recordings.
        given: usize,
    },
    /// The same, of a prompt that a chat template made.
    #[error(
        "{template}: the chat template writes {found} {what} placeholders (`{text}`) for {given} {what}s"
    )]
    Template {
        /// The template.
        template: String,
        /// `picture`, `clip` or `recording`.
        what: &'static str,
        /// The placeholder.
        text: String,
        /// Placeholders in the prompt.
        found: usize,
        /// Pictures, clips or recordings.
        given: usize,
    },
    /// The checkpoint has no placeholder for these.
    #[error("this checkpoint takes no {what}s, but {given} were given")]
    Blind {
        /// `picture`, `clip` or `recording`.
        what: &'static str,
        /// Pictures, clips or recordings.
        given: usize,
    },
    /// The expanded prompt has another number of positions than its pictures and recordings.
    #[error(
        "`tokenizer.json` makes {found} positions of `{text}` of the expanded prompt, what it shows and plays has {expected}"
    )]
    Positions {
        /// The placeholder.
        text: String,
        /// Positions in the prompt.
        found: usize,
        /// Positions of pictures and recordings.
        expected: usize,
    },
    /// Two placeholders that share letters.
    #[error("a placeholder at byte {at} of the prompt begins before the one before it ends")]
    Overlap {
        /// Where the second begins.
        at: usize,
    },
    /// The tokenizer refused.
    #[error(transparent)]
    Text(#[from] TextError),
    /// Nothing is left to compute.
    #[error("the prompt has no tokens: `tokenizer.json` makes none of it")]
    Empty,
}

impl WordsError {
    /// Of a question that a template put into a prompt: a placeholder too many or too few is the template's, unless the
    /// question has any itself.
    pub(super) fn of_template(self, template: &ChatTemplate, question: &str) -> Self {
        match self {
            Self::Placeholders { what, text, found, given } if !question.contains(&text) => {
                Self::Template { template: template.name().to_owned(), what, text, found, given }
            }
            other => other,
        }
    }
}

/// What errors call a clip.
const CLIP: &str = "clip";
/// What errors call a recording.
const RECORDING: &str = "recording";

/// A placeholder in the prompt.
struct Place<'a> {
    start: usize,
    end: usize,
    expansion: &'a Expansion,
    token: u32,
    shows: Modality,
}

/// Expands the placeholders of a prompt and tokenises it. Byte ranges of the map are those of the prompt before expansion.
///
/// # Errors
/// [`WordsError`].
pub(super) fn tokenise(
    tokenizer: &Tokenizer,
    eyes: &dyn Eyes,
    seen: &Seen,
    prompt: &str,
    special: bool,
) -> Result<(Vec<u32>, TokenMap), WordsError> {
    let mut places = find(prompt, "picture", eyes.picture(), &seen.pictures)?;
    places.extend(find(prompt, CLIP, eyes.clip(), &seen.clips)?);
    places.extend(find(prompt, RECORDING, eyes.recording(), &seen.recordings)?);
    places.sort_by_key(|p| p.start);
    let mut text = String::with_capacity(prompt.len());
    // For each placeholder, the bytes of the expanded text it became.
    let mut became = Vec::with_capacity(places.len());
    let mut at = 0;
    for place in &places {
        text.push_str(prompt.get(at..place.start).ok_or(WordsError::Overlap { at: place.start })?);
        let start = text.len();
        text.push_str(&place.expansion.text);
        became.push((start, text.len()));
        at = place.end;
    }
    text.push_str(&prompt[at..]);

    let original = |byte: usize, is_end: bool| -> usize {
        let mut shift: i64 = 0;
        for (place, (start, end)) in places.iter().zip(&became) {
            if byte < *start || (byte == *start && is_end) {
                break;
            }
            if byte < *end || (byte == *end && is_end) {
                return if is_end { place.end } else { place.start };
            }
            shift = place.end as i64 - *end as i64;
        }
        (byte as i64 + shift) as usize
    };
    let mut labels: Vec<(u32, Modality, _)> = Vec::new();
    for place in &places {
        labels.extend(place.expansion.places.iter().map(|label| (place.token, place.shows, label)));
    }
    let mut next = labels.iter();
    let (mut ids, mut map) = (Vec::new(), TokenMap::default());
    let visual: Vec<u32> = eyes.placeholders().iter().map(|p| p.token).collect();
    let mut used = 0;
    for piece in tokenizer.encode(&text, special)? {
        let name = tokenizer.piece(piece.id).unwrap_or_else(|_| format!("<{}>", piece.id));
        let mut label = if visual.contains(&piece.id) {
            used += 1;
            match next.next() {
                Some((token, shows, place)) if *token == piece.id => {
                    let label = TokenLabel::new(name, *shows);
                    place.map_or(label.clone(), |patch| label.with_patch(patch))
                }
                _ => return Err(positions(eyes, piece.id, &text, tokenizer, labels.len())),
            }
        } else if tokenizer.is_special(piece.id) {
            TokenLabel::new(name, Modality::Special)
        } else {
            TokenLabel::new(name, Modality::Text)
        };
        label = label.with_id(piece.id);
        if let Some((from, to)) = piece.bytes
            && !visual.contains(&piece.id)
        {
            label = label.with_bytes(original(from, false), original(to, true));
        }
        ids.push(piece.id);
        map.tokens.push(label);
    }
    if used != labels.len() {
        return Err(positions(eyes, visual.first().copied().unwrap_or(0), &text, tokenizer, labels.len()));
    }
    if ids.is_empty() {
        return Err(WordsError::Empty);
    }
    map.text = prompt.to_owned();
    map.views = seen.views.clone();
    map.patches = seen.patches.clone();
    Ok((ids, map))
}

fn positions(eyes: &dyn Eyes, token: u32, text: &str, tokenizer: &Tokenizer, expected: usize) -> WordsError {
    let placeholder = eyes.placeholders().into_iter().find(|p| p.token == token);
    let found =
        tokenizer.encode(text, false).map_or(0, |pieces| pieces.iter().filter(|p| p.id == token).count());
    WordsError::Positions { text: placeholder.map_or_else(String::new, |p| p.text.clone()), found, expected }
}

fn find<'a>(
    prompt: &str,
    what: &'static str,
    placeholder: Option<&Placeholder>,
    expansions: &'a [Expansion],
) -> Result<Vec<Place<'a>>, WordsError> {
    let given = expansions.len();
    let Some(placeholder) = placeholder else {
        return if given == 0 { Ok(Vec::new()) } else { Err(WordsError::Blind { what, given }) };
    };
    let starts: Vec<usize> = prompt.match_indices(&placeholder.text).map(|(start, _)| start).collect();
    if starts.len() != given {
        let (text, found) = (placeholder.text.clone(), starts.len());
        return Err(WordsError::Placeholders { what, text, found, given });
    }
    let shows = match what {
        CLIP => Modality::Video,
        RECORDING => Modality::Audio,
        _ => Modality::Image,
    };
    let token = placeholder.token;
    let end = |start| start + placeholder.text.len();
    let place = |(start, expansion)| Place { start, end: end(start), expansion, token, shows };
    Ok(starts.into_iter().zip(expansions).map(place).collect())
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use mmlens_core::{Clip, Picture, Sample, Words};

    use super::*;
    use crate::vlm::Blind;

    #[test]
    fn what_a_blind_model_is_shown_is_refused() {
        let picture = Picture::new("p", image::RgbImage::new(1, 1));
        let clip = Clip::new("c", vec![picture.image.clone()], None);
        let sample = Sample::new(vec![picture], Words::Nothing).with_clips(vec![clip]);
        let seen = Blind.look(&sample, &Device::flex()).unwrap();
        let said = |what, expansions| find("Hi", what, None, expansions).err().map(|e| e.to_string());
        let pictures = said("picture", &seen.pictures).unwrap();
        assert_eq!(pictures, "this checkpoint takes no pictures, but 1 were given");
        let clips = said("clip", &seen.clips).unwrap();
        assert_eq!(clips, "this checkpoint takes no clips, but 1 were given");
        assert!(said("picture", &[]).is_none());
    }
}
