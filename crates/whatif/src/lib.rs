//! What-if sessions: hide a part of a picture, strike or change a word, switch off a head, steer, ask again, compare with what was.
//!
//! A [`WhatIf`] holds a model, a sample and a present state, and carries out [`Request`]s: values of Rust, or JSON, one object each
//! ([`WhatIf::answer`]). A request that cannot be carried out is a [`Refusal`] that says which field, what was found and what was
//! expected; the state is then what it was before, and the session goes on. Every number of a state is, bit by bit, what the library gives
//! for the same model with the same edits and the same parts hidden. The page of the schema is `docs/whatif.md`.
//!
//! ```
//! # use mmlens_core::{Picture, Sample, Unwatched};
//! # use mmlens_testkit::Toy;
//! use mmlens_whatif::{Settings, WhatIf};
//! # let toy = Toy::curved(1);
//! let mut session = WhatIf::begin(&toy, Sample::text("abcd"), &[], Settings::default())?;
//! let reply = session.answer(br#"{"do": "edit", "edit": "text.blocks.1.attn.z[head=0]=zero"}"#, &Unwatched);
//! assert!(reply.contains(r#""done":"edit""#), "{reply}");
//! let refused = session.answer(br#"{"do": "edit", "edit": "text.blocks.1.attn.z[head=9]=zero"}"#, &Unwatched);
//! assert!(refused.contains(r#""field":"edit""#), "{refused}");
//! # Ok::<(), mmlens_whatif::Refusal>(())
//! ```
//!
//! | file | idea |
//! |---|---|
//! | `request`, `reply` | what is asked and answered, as JSON has it |
//! | `refusal` | why something is not done |
//! | `state` | what was changed so far |
//! | `shown` | [`Shown`]: a subject that is not shown some parts of pictures |
//! | `words` | the words of the question, and where they stand in it |
//! | `asked` | what a model says under a state |
//! | `session` | [`WhatIf`]: requests and the present state; `lines` of JSON, `parts` of the input by their numbers, what is `told` of it, a `map` under it |
//! | `http`, `served` | [`Server`]: a session on a port of loopback, for whoever knows its token |
//! | `page` | [`page`](page()): the page of `mmlens studio` |

mod asked;
mod http;
mod page;
mod refusal;
mod reply;
mod request;
mod served;
mod session;
mod shown;
mod state;
mod words;

pub use asked::{Answered, Scored, Told};
pub use http::MOST_BODY;
pub use page::{Document, page};
pub use refusal::{Kind, Refusal};
pub use reply::{
    Change, Described, Difference, EditTold, Mapped, MethodTold, Now, Part, PictureTold, Reply, SiteTold,
    VERSION,
};
pub use request::{Aimed, Fields, MOST_REQUEST, Request, Top, parse};
pub use served::{Server, Token};
pub use session::{Direction, Settings, WhatIf};
pub use shown::Shown;
pub use state::{PictureFill, State, Steered, WordFill};
