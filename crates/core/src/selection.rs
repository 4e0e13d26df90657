//! Which logits a pass is run for.

use crate::{HookError, Position};

/// The logits a pass is run for: those of some positions, of some tokens or of all.
///
/// A vocabulary is wide, and a sweep or a gradient looks at one or two of its entries. A model may ask
/// [`Run::selected_logits`](crate::Run::selected_logits) and compute these alone ([`Run::output`](crate::Run::output)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogitSelection {
    at: Vec<Position>,
    tokens: Option<Vec<u32>>,
}

impl LogitSelection {
    /// None at all.
    pub(crate) fn none() -> Self {
        Self { at: Vec::new(), tokens: Some(Vec::new()) }
    }

    /// Whether it is none at all.
    pub(crate) fn is_none(&self) -> bool {
        self.at.is_empty()
    }

    /// All tokens at a position.
    pub fn at(at: Position) -> Self {
        Self { at: vec![at], tokens: None }
    }

    /// Some tokens at a position.
    pub fn tokens_at(at: Position, tokens: impl IntoIterator<Item = u32>) -> Self {
        let mut wanted = Self { at: vec![at], tokens: Some(Vec::new()) };
        for token in tokens {
            wanted.take(token);
        }
        wanted
    }

    /// Whatever is in either: the positions of both, of each the tokens of both.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        for at in &other.at {
            if !self.at.contains(at) {
                self.at.push(*at);
            }
        }
        match &other.tokens {
            Some(tokens) => tokens.iter().for_each(|token| self.take(*token)),
            None => self.tokens = None,
        }
        self
    }

    fn take(&mut self, token: u32) {
        if let Some(tokens) = &mut self.tokens
            && !tokens.contains(&token)
        {
            tokens.push(token);
        }
    }

    /// The positions asked for.
    pub fn read_at(&self) -> &[Position] {
        &self.at
    }

    /// The positions as indices into a row of so many.
    ///
    /// # Errors
    /// [`HookError::Objective`] for a position past the end.
    pub fn positions(&self, len: usize) -> Result<Vec<usize>, HookError> {
        self.at.iter().map(|at| at.index(len)).collect()
    }

    /// The tokens, where they are not all; every one within a vocabulary of so many.
    ///
    /// # Errors
    /// [`HookError::Objective`] for a token outside it.
    pub fn tokens(&self, vocab: usize) -> Result<Option<&[u32]>, HookError> {
        let tokens = self.tokens.as_deref();
        match tokens.unwrap_or_default().iter().find(|token| **token as usize >= vocab) {
            Some(token) => Err(HookError::Objective { what: "token", index: *token as usize, len: vocab }),
            None => Ok(tokens),
        }
    }

    /// Where a position lies among those asked for, and a token among the tokens. No token: all must be there.
    pub(crate) fn place(&self, at: Position, token: Option<u32>) -> Option<(usize, Option<usize>)> {
        let place = self.at.iter().position(|own| *own == at)?;
        match (&self.tokens, token) {
            (None, token) => Some((place, token.map(|token| token as usize))),
            (Some(tokens), Some(token)) => Some((place, Some(tokens.iter().position(|own| *own == token)?))),
            (Some(_), None) => None,
        }
    }

    /// How many positions, and how many tokens where they are not all.
    pub fn lengths(&self) -> (usize, Option<usize>) {
        (self.at.len(), self.tokens.as_ref().map(Vec::len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_union_holds_every_position_and_token_once() {
        let one = LogitSelection::tokens_at(Position::Last, [7, 2, 7]);
        let both = one.clone().and(&LogitSelection::tokens_at(Position::At(3), [2, 5]));
        assert_eq!(both.positions(9).unwrap(), [8, 3]);
        assert_eq!(both.tokens(8).unwrap(), Some([7, 2, 5].as_slice()));
        assert_eq!(both.place(Position::At(3), Some(5)), Some((1, Some(2))));
        assert_eq!((both.place(Position::At(4), Some(5)), both.place(Position::Last, None)), (None, None));
        let all = one.and(&LogitSelection::at(Position::Last));
        assert_eq!((all.lengths(), all.tokens(8).unwrap()), ((1, None), None));
        assert_eq!(all.place(Position::Last, Some(6)), Some((0, Some(6))));
    }

    #[test]
    fn what_is_not_there_is_refused() {
        let wanted = LogitSelection::tokens_at(Position::At(3), [7]);
        let said = wanted.positions(3).unwrap_err().to_string();
        assert_eq!(said, "the objective asks for position 3, but the output has 3");
        let said = wanted.tokens(7).unwrap_err().to_string();
        assert_eq!(said, "the objective asks for token 7, but the output has 7");
    }
}
