//! The waist of mmlens: where a model can be read and changed, and the one shape of every analysis.
//!
//! A [`Subject`] publishes [`Site`]s. A [`Plan`] says what to read, change and differentiate; a [`Run`] carries it out
//! while the model computes; a [`Trace`] is what was read. Values in, values out: nothing stays on the model.
//!
//! ```no_run
//! # fn look(subject: &dyn mmlens_core::Subject, inputs: &mmlens_core::Inputs) -> Result<(), mmlens_core::SubjectError> {
//! use mmlens_core::{Objective, Plan, Region, Change};
//! let plan = Plan::new()
//!     .read("text.blocks.*.resid_post")?
//!     .change("text.blocks.1.attn.z", Region::all().heads([2]), Change::Zero)?
//!     .grad("vision.pixels")?
//!     .objective(Objective::logit(42));
//! let trace = subject.run(inputs, plan)?;
//! println!("{:?}", trace.grad("vision.pixels".parse()?)?.dims());
//! # Ok(())
//! # }
//! ```

mod agreement;
mod altered;
mod baseline;
mod broken;
mod cases;
mod change;
mod clip;
mod colour;
mod decoding;
pub mod device;
mod error;
mod examples;
mod forward;
mod generate;
mod gif;
mod inputs;
mod integrity;
pub mod kind;
mod mean;
pub mod memory;
mod method;
mod need;
mod objective;
mod order;
mod own;
mod picture;
mod plain;
mod plan;
mod plans;
mod png;
mod run;
mod sample;
mod seed;
mod selection;
mod selector;
mod session;
mod site;
mod splice;
mod strip;
mod subject;
mod tap;
mod tensor;
mod threads;
mod trace;
mod upright;
mod weight;

pub use altered::{Alteration, AlterationError, AlterationFault, Altered, orthonormal};
pub use baseline::Baseline;
pub use broken::Place;
pub use cases::{Annotated, Cases, FromFn, Listed, Mask, PersonMap, Subset, from_fn, groups, held_out};
pub use change::MASKED;
pub use clip::{Clip, MOST_CLIP_FRAMES, MOST_CLIP_PIXELS};
pub use colour::{ColourError, mean_colour, rgb_bytes};
pub use decoding::{Decode, Decoding};
pub use device::{DeviceError, DeviceName};
pub use error::{HookError, Unfit};
pub use examples::{Examples, Rows};
pub use generate::{
    Beams, Generated, Generation, Generator, Rule, Rules, Sampling, ScoresFn, Text, Upcoming,
};
pub use inputs::{Batch, Entries, Grid, Heard, Inputs, Listened, LogitsAt, TokenMap, TowerPosition, View};
pub use integrity::{Breach, Integrity};
pub use kind::Capability;
pub use mean::{Content, contents};
pub use method::{
    Analysis, AnalysisError, Answer, AnyAnalysis, AnyFitted, Card, Case, CaseAmong, Cost, Ended, Estimate,
    Fit, Fitted, FittedError, Fitting, Form, Given, Input, Leaf, ManyCases, Memory, Method, Moved, NoMethod,
    NoSize, On, Outcome, Pace, Pair, Parts, Reach, Recorded, Rerun, RerunError, Setting, Shared, Source,
    Split, Target, Tool, Unwatched, Watch, caution, check, estimate, explain, fields, found, heard_again,
    heard_in, learned_from, rerun, step, table, top_token,
};
pub use need::{Copies, Need};
pub use objective::{Custom, Measure, Objective, Output, Pairs, Position, Reading, Unreadable};
pub use order::Order;
pub use own::OwnPoint;
pub use picture::{MOST_PICTURE_BYTES, MOST_PICTURE_PIXELS, Picture};
pub use plain::plain_names;
pub use plan::{Change, ChangeFn, Plan, Region, State};
pub use plans::{Plans, Steps};
pub use run::{Resume, Run};
pub use sample::{Reply, Sample, Words};
pub use seed::Seed;
pub use selection::LogitSelection;
pub use selector::Selector;
pub use session::{Session, SessionError};
pub use site::{AxisName, Part, Point, Site, SiteSpec, closest};
pub use splice::Splice;
pub use strip::{Held, ScanFn, Strip};
pub use subject::{Anatomy, Subject, SubjectError};
pub use tensor::{Activation, AnyTensor, place};
pub use threads::among_threads;
pub use trace::Trace;
pub use weight::{Port, Through, WeightKind, WeightSpec};

pub use mmlens_files::{Panicked, caught};
pub use mmlens_finding as finding;
pub use mmlens_sound as sound;

// What signatures and derives here need, so that a crate outside depends on this one alone.
pub use {burn, ndarray, serde, serde_json};
