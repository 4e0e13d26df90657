//! The tokens of an answer, explained one by one beside all of them together.

use mmlens_core::finding::{Axis, BY_TOKEN, Labelled, Labels, Role, TableError, TokenLabel};
use mmlens_core::{AnalysisError, Case, HookError, Inputs, Objective, On, Position};

use crate::Metric;

/// The tokens of a phrase that are explained one by one ([`On::each`]), with what each of them is; none where nobody asked for it.
#[derive(Debug, Clone)]
pub struct Spoken {
    objectives: Vec<Objective>,
    tokens: Vec<TokenLabel>,
}

impl Spoken {
    /// None.
    #[must_use]
    pub const fn none() -> Self {
        Self { objectives: Vec::new(), tokens: Vec::new() }
    }

    /// What a case asks for.
    ///
    /// # Errors
    /// [`HookError::Objective`] for a phrase that does not stand in the inputs.
    pub fn of(
        on: &On<'_>,
        case: &Case,
        inputs: &Inputs,
        objective: &Objective,
    ) -> Result<Self, AnalysisError> {
        let (objectives, pad) = (on.each(case, objective), inputs.pads.first().copied().unwrap_or(0));
        let map = inputs.map();
        let label = |objective: &Objective| {
            // A token is decided at the position before it.
            let at = objective
                .read_at()
                .into_iter()
                .find_map(|ask| if let Position::At(at) = ask { Some(at + 1) } else { None });
            let index = at.unwrap_or(usize::MAX).saturating_sub(pad);
            let missing = HookError::Objective { what: "position", index, len: map.len() };
            map.tokens.get(index).cloned().ok_or(missing)
        };
        let tokens = objectives.iter().map(label).collect::<Result<_, _>>()?;
        Ok(Self { objectives, tokens })
    }

    /// One objective for each token.
    pub fn objectives(&self) -> &[Objective] {
        &self.objectives
    }

    /// The whole as a metric, and one for each token behind it.
    pub fn beside(&self, whole: &Objective) -> Vec<Metric> {
        std::iter::once(whole).chain(&self.objectives).map(Metric::from).collect()
    }

    /// The tables of the whole, and behind them, aside, those of its tokens ([`Spoken::tables`]): given are the tables of the
    /// whole, then those of every token.
    ///
    /// # Errors
    /// Whatever making tables reports.
    pub fn with_each(
        &self,
        made: impl IntoIterator<Item = Result<Vec<Labelled>, AnalysisError>>,
    ) -> Result<Vec<Labelled>, AnalysisError> {
        let mut made = made.into_iter();
        let mut whole = made.next().ok_or(HookError::NoObjective)??;
        let each: Vec<Vec<Labelled>> = made.collect::<Result<_, _>>()?;
        whole.extend(self.tables(&each)?);
        Ok(whole)
    }

    /// The tokens, as an axis.
    pub fn axis(&self) -> Axis {
        Axis::new(Role::Answer, Labels::Tokens(self.tokens.clone()))
    }

    /// Tables that were made for every token, each as one table with the tokens as its first axis, named like the table of all of them.
    /// Tables that do not stand by themselves, that are words, or that not every token has in the same shape are left out.
    ///
    /// # Errors
    /// [`TableError`] for values that do not fill the axes.
    pub fn tables(&self, each: &[Vec<Labelled>]) -> Result<Vec<Labelled>, TableError> {
        let Some((first, others)) = each.split_first() else { return Ok(Vec::new()) };
        let mut tables = Vec::new();
        for table in first.iter().filter(|table| !table.is_aside()) {
            let like = |other: &&Labelled| other.name() == table.name() && other.axes() == table.axes();
            let same = others.iter().map(|own| own.iter().find(like)).collect::<Option<Vec<_>>>();
            let Some(same) = same else { continue };
            let values =
                std::iter::once(table).chain(same).map(Labelled::as_numbers).collect::<Option<Vec<_>>>();
            let Some(values) = values else { continue };
            let axes = std::iter::once(self.axis()).chain(table.axes().iter().cloned()).collect();
            let name = format!("{}{BY_TOKEN}", table.name());
            tables.push(Labelled::numbers(name, table.unit(), axes, values.concat())?.aside());
        }
        Ok(tables)
    }
}
