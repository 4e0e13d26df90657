//! The words of the world: what sounds can be, how they are told apart, and every word a text may hold.

use crate::named::named;

named! {
    /// What a sound is made of.
    Timbre {
        /// One steady tone.
        Beep => "beep",
        /// A tone with two overtones.
        Buzz => "buzz",
        /// A tone that swells twelve and a half times a second.
        Pulse => "pulse",
        /// Noise in a band around the pitch.
        Hiss => "hiss",
    }
}

named! {
    /// How high a sound is, from the lowest on.
    Pitch {
        /// About 250 Hz.
        Deep => "deep",
        /// About 612 Hz.
        Low => "low",
        /// About 1500 Hz.
        High => "high",
        /// About 3675 Hz.
        Shrill => "shrill",
    }
}

named! {
    /// How long a sound lasts.
    Length {
        /// A quarter of a second, about.
        Short => "short",
        /// Two thirds of a second, about.
        Long => "long",
    }
}

named! {
    /// How loud a sound is.
    Loudness {
        /// About 37 dB below full scale.
        Soft => "soft",
        /// About 25 dB below full scale.
        Loud => "loud",
    }
}

named! {
    /// What singles a sound out among the others.
    Rank {
        /// It begins before all others.
        First => "first",
        /// It begins after one other and before all else; there are three.
        Second => "second",
        /// It begins after all others.
        Last => "last",
        /// It is loud, and all others are soft.
        Loudest => "loudest",
    }
}

named! {
    /// One of the three seconds of a recording.
    Moment {
        /// The first.
        Early => "early",
        /// The second.
        Midway => "midway",
        /// The third.
        Late => "late",
    }
}

impl Timbre {
    /// The noun for several of this timbre.
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Beep => "beeps",
            Self::Buzz => "buzzes",
            Self::Pulse => "pulses",
            Self::Hiss => "hisses",
        }
    }
}

impl Pitch {
    /// The mean pitch of a sound of this name, in Hz: of a tone the lowest partial, of a hiss the middle of its band. From one to the
    /// next it is 2.45 times as high, so that no overtone of one (twice and three times as high) is the pitch of another.
    pub const fn hertz(self) -> f32 {
        match self {
            Self::Deep => 250.0,
            Self::Low => 612.0,
            Self::High => 1500.0,
            Self::Shrill => 3675.0,
        }
    }
}

impl Length {
    /// The mean length of a sound of this name, in milliseconds.
    pub const fn milliseconds(self) -> u32 {
        match self {
            Self::Short => 250,
            Self::Long => 680,
        }
    }
}

impl Loudness {
    /// The mean level of a sound of this name: the root of its mean square between its edges, where full scale is 1.
    pub const fn level(self) -> f32 {
        match self {
            Self::Soft => 0.014,
            Self::Loud => 0.056,
        }
    }
}

/// The digit words, by value.
pub(super) const DIGITS: [&str; 4] = ["0", "1", "2", "3"];

/// Every word that can occur in a question, an answer or a description: no duplicates, always in the same order.
///
/// Words are what `text.split(' ')` yields; punctuation marks are words of their own.
pub fn vocabulary() -> Vec<&'static str> {
    let grammar = [
        "?",
        ",",
        ".",
        "a",
        "the",
        "is",
        "are",
        "there",
        "what",
        "which",
        "how",
        "when",
        "many",
        "kind",
        "does",
        "do",
        "two",
        "begin",
        "comes",
        "or",
        "before",
        "after",
        "overlap",
        "in",
        "pitch",
        "sound",
        "sounds",
        "describe",
        "recording",
        "yes",
        "no",
    ];
    let mut words: Vec<&'static str> = Vec::new();
    let texts = grammar
        .into_iter()
        .chain(DIGITS)
        .chain(Timbre::ALL.iter().map(|timbre| timbre.word()))
        .chain(Timbre::ALL.iter().map(|timbre| timbre.plural()))
        .chain(Pitch::ALL.iter().map(|pitch| pitch.word()))
        .chain(Length::ALL.iter().map(|length| length.word()))
        .chain(Loudness::ALL.iter().map(|loudness| loudness.word()))
        .chain(Rank::ALL.iter().map(|rank| rank.word()))
        .chain(Moment::ALL.iter().map(|moment| moment.word()));
    for word in texts {
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
        // "how long": "long" is the length; "how" is of the grammar. "first" is a rank.
        // a model's embedding has one row a word: a change here needs new weights
        // grammar 31, digits 4, timbres 4 and their plurals 4, pitches 4, lengths 2, loudnesses 2, ranks 4, moments 3
        assert_eq!(words.len(), 31 + 4 + 8 + 4 + 2 + 2 + 4 + 3);
        assert_eq!(words[..6], ["?", ",", ".", "a", "the", "is"]);
    }

    #[test]
    fn pitches_are_as_far_apart_as_their_docs_say() {
        for pair in Pitch::ALL.windows(2) {
            let factor = pair[1].hertz() / pair[0].hertz();
            assert!((factor - 2.45).abs() < 0.01, "{pair:?}: {factor}");
        }
    }
}
