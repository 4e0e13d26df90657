//! Decoding token by token, with the logits of the next one in hand.

use crate::{AnyTensor, Plan, SubjectError, Trace};

/// What a session cannot do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// Another number of tokens than rows.
    #[error("a step takes one token for each of {rows} rows, {found} were given")]
    Tokens {
        /// How many tokens were given.
        found: usize,
        /// How many rows there are.
        rows: usize,
    },
    /// A row there is not.
    #[error("row {row} is to be kept, but there are {rows}")]
    Row {
        /// The row.
        row: usize,
        /// How many there are.
        rows: usize,
    },
    /// No row to go on with.
    #[error("no row is to be kept; a session has at least one")]
    NoRows,
    /// More steps to be taken back than can be.
    #[error("{asked} steps are to be taken back, but {taken} can be")]
    Back {
        /// How many were to be.
        asked: usize,
        /// How many can be: those since the beginning, or since the session was settled.
        taken: usize,
    },
    /// A row whose last position is taken.
    #[error("row {row} cannot go on: it has taken the model's last position")]
    NoRoom {
        /// The row.
        row: usize,
    },
    /// A pass that broke off and took with it what the session was made of.
    #[error("the session was lost when a step of it broke off; begin another")]
    Lost,
}

/// Rows of tokens on their way: a prompt was read, and what follows is decided token by token by whoever holds the session.
///
/// [`Subject::begin`](crate::Subject::begin) reads the prompt. From then on [`logits`](Session::logits) are those of the next token of
/// every row, and [`step`](Session::step) takes one token for each row and computes those after it. Nothing is chosen here, and no
/// setting of a checkpoint applies: greedy decoding, drawing and search by beams are loops over these few functions, and so are methods
/// that weigh one session's logits against another's.
///
/// Keys and values of what was read are kept. A [`fork`](Session::fork) shares them until either branch goes on.
///
/// ```no_run
/// # fn go(subject: &dyn mmlens_core::Subject, inputs: &mmlens_core::Inputs) -> Result<(), mmlens_core::SubjectError> {
/// use mmlens_core::Plan;
/// let mut session = subject.begin(inputs, Plan::new())?;
/// let mut other = session.fork();
/// session.step(&[17], Plan::new())?;
/// let trace = other.step(&[18], Plan::new().read("text.final_norm")?)?;
/// other.back(1)?;
/// # Ok(())
/// # }
/// ```
pub trait Session: Send {
    /// Number of rows.
    fn rows(&self) -> usize;

    /// Number of steps since the prompt, those taken back left out.
    fn steps(&self) -> usize;

    /// The tokens taken since the prompt, of every row.
    fn written(&self) -> &[Vec<u32>];

    /// How many more tokens every row can take; `None` for a model whose positions do not end.
    fn room(&self) -> Option<&[usize]>;

    /// The model's own logits of the next token, `[row, vocab]`.
    fn logits(&self) -> &AnyTensor;

    /// What the plan of the beginning brought back. It is handed over once, and not to branches: `None` afterwards.
    fn begun(&mut self) -> Option<Trace>;

    /// Takes one token for each row. The plan holds for this one pass, whose sites have a single position: the token's. Its output
    /// are the logits of the next token, `[row, 1, vocab]`.
    ///
    /// If it fails, the session is where it was.
    ///
    /// # Errors
    /// [`SessionError::Tokens`], [`SessionError::NoRoom`]; [`HookError`](crate::HookError), gradients and resumption
    /// among them ([`Generating`](crate::HookError::Generating)); [`SubjectError::Broken`] for a panic on the way.
    fn step(&mut self, tokens: &[u32], plan: Plan) -> Result<Trace, SubjectError>;

    /// An independent branch from here. What was read so far is shared; the first of the two to go on copies it.
    fn fork<'b>(&self) -> Box<dyn Session + 'b>
    where
        Self: 'b;

    /// Forgets the last steps: the logits are again those of before, and what follows has the same bits as if these steps had never
    /// been. Rows that were given up since do not come back.
    ///
    /// # Errors
    /// [`SessionError::Back`] if there are not so many.
    fn back(&mut self, steps: usize) -> Result<(), SubjectError>;

    /// Goes on with these rows, in this order: rows left out are given up and cost nothing from here on, a row that is named
    /// several times goes on so many times. Costs a copy of the keys and values, unless all rows stay in their places.
    ///
    /// # Errors
    /// [`SessionError::Row`] for a row there is not, [`SessionError::NoRows`] for an empty list.
    fn keep(&mut self, rows: &[usize]) -> Result<(), SubjectError>;

    /// Makes of here a beginning that [`back`](Session::back) does not cross. Frees the logits that are kept for every step,
    /// `4 rows vocab` bytes each.
    fn settle(&mut self);
}

/// Methods of [`Session`](crate::Session) that are handed on to another session, in an `impl` of it; those that one has no other way of are
/// written there: see [`forward_subject!`](crate::forward_subject).
///
/// ```
/// use mmlens_core::{Plan, Session, SubjectError, Trace, forward_session};
/// struct Reading<'a>(Box<dyn Session + 'a>);
///
/// impl Session for Reading<'_> {
///     forward_session!(|own| own.0; rows, steps, written, room, logits, begun, back, keep, settle);
///
///     fn step(&mut self, tokens: &[u32], plan: Plan) -> Result<Trace, SubjectError> {
///         self.0.step(tokens, plan.read("text.final_norm")?)
///     }
///
///     fn fork<'b>(&self) -> Box<dyn Session + 'b>
///     where
///         Self: 'b,
///     {
///         Box::new(Reading(self.0.fork()))
///     }
/// }
/// ```
#[macro_export]
macro_rules! forward_session {
    (|$own:ident| $to:expr; $($method:ident),+ $(,)?) => {
        $($crate::forward_session!(@$method |$own| $to);)+
    };
    (@rows |$own:ident| $to:expr) => {
        fn rows(&self) -> usize {
            let $own = self;
            $to.rows()
        }
    };
    (@steps |$own:ident| $to:expr) => {
        fn steps(&self) -> usize {
            let $own = self;
            $to.steps()
        }
    };
    (@written |$own:ident| $to:expr) => {
        fn written(&self) -> &[Vec<u32>] {
            let $own = self;
            $to.written()
        }
    };
    (@room |$own:ident| $to:expr) => {
        fn room(&self) -> Option<&[usize]> {
            let $own = self;
            $to.room()
        }
    };
    (@logits |$own:ident| $to:expr) => {
        fn logits(&self) -> &$crate::AnyTensor {
            let $own = self;
            $to.logits()
        }
    };
    (@begun |$own:ident| $to:expr) => {
        fn begun(&mut self) -> Option<$crate::Trace> {
            let $own = self;
            $to.begun()
        }
    };
    (@back |$own:ident| $to:expr) => {
        fn back(&mut self, steps: usize) -> Result<(), $crate::SubjectError> {
            let $own = self;
            $to.back(steps)
        }
    };
    (@keep |$own:ident| $to:expr) => {
        fn keep(&mut self, rows: &[usize]) -> Result<(), $crate::SubjectError> {
            let $own = self;
            $to.keep(rows)
        }
    };
    (@settle |$own:ident| $to:expr) => {
        fn settle(&mut self) {
            let $own = self;
            $to.settle();
        }
    };
}
