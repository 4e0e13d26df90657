//! Points of one's own: what an architecture, a dictionary or a router publishes beside the points that all models share.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use crate::{HookError, Point};

/// A point that [`Point::ALL`] does not list. Its name says where it lies: that of the point right in front of it, and words of its
/// own: `mlp_in.router`, `resid_post.sae.features`. Two are the same if their names are.
#[derive(Clone, Copy)]
pub struct OwnPoint(u16);

/// What is told of it.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    name: String,
    meaning: String,
    /// The place of the listed point in front of it in [`Point::ALL`].
    front: usize,
}

/// Every point of one's own that was ever named, each once: a site is a small value that is copied.
static NAMED: Mutex<Vec<&'static Told>> = Mutex::new(Vec::new());

impl OwnPoint {
    fn told(self) -> &'static Told {
        static NOTHING: Told = Told { name: String::new(), meaning: String::new(), front: 0 };
        let named = NAMED.lock().unwrap_or_else(PoisonError::into_inner);
        named.get(usize::from(self.0)).copied().unwrap_or(&NOTHING)
    }

    /// The listed point in front of it.
    pub fn front(self) -> Point {
        Point::ALL.get(self.told().front).copied().unwrap_or(Point::Logits)
    }

    /// Its name in a site.
    pub fn name(self) -> &'static str {
        &self.told().name
    }

    /// What it holds, in a sentence, as whoever publishes it says.
    pub fn meaning(self) -> &'static str {
        &self.told().meaning
    }

    pub(crate) fn place(self) -> usize {
        self.told().front
    }
}

impl fmt::Debug for OwnPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl PartialEq for OwnPoint {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for OwnPoint {}

impl Hash for OwnPoint {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

impl Point {
    /// A point of one's own, right behind another: a path of words of small letters, digits and `_`, and what the point holds, in
    /// a sentence, with the equation that is to hold of it.
    ///
    /// ```
    /// use mmlens_core::{Part, Point, Site};
    /// let router = Point::own(Point::MlpIn, "router", "Weights of the experts: softmax(norm(mlp_in) W).")?;
    /// let site: Site = "text.blocks.3.mlp_in.router".parse()?;
    /// assert_eq!(site, Site::block(Part::Text, 3, router));
    /// assert!(Site::block(Part::Text, 3, Point::MlpIn) < site && site < Site::block(Part::Text, 3, Point::MlpGate));
    /// # Ok::<(), mmlens_core::HookError>(())
    /// ```
    ///
    /// # Errors
    /// [`HookError::Syntax`] for a path that is none.
    pub fn own(front: Self, path: &str, meaning: &str) -> Result<Self, HookError> {
        let name = format!("{}.{path}", front.name());
        match path.split('.').all(is_word) {
            true => kept(Told { name, meaning: meaning.to_owned(), front: front.place() }).map(Self::Own),
            false => Err(HookError::Syntax {
                text: name,
                reason: format!("`{path}` is no path of words of small letters, digits and `_`"),
                nearest: None,
            }),
        }
    }

    /// The listed point in front of one's own.
    pub fn front(self) -> Option<Self> {
        match self {
            Self::Own(own) => Some(own.front()),
            _ => None,
        }
    }

    /// A point by its name: a listed one, or one's own behind one.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let listed = Self::ALL.iter().copied();
        if let Some(point) = listed.clone().find(|point| point.name() == name) {
            return Some(point);
        }
        let behind = |point: Self| Some((point, name.strip_prefix(point.name())?.strip_prefix('.')?));
        let (front, path) = listed.filter_map(behind).next()?;
        Self::own(front, path, "A place that this model alone has.").ok()
    }
}

impl Ord for Point {
    fn cmp(&self, other: &Self) -> Ordering {
        let own = |point: &Self| match point {
            Self::Own(own) => own.name(),
            _ => "",
        };
        self.place().cmp(&other.place()).then_with(|| own(self).cmp(own(other)))
    }
}

impl PartialOrd for Point {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

fn is_word(word: &str) -> bool {
    let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    word.starts_with(|c: char| c.is_ascii_lowercase()) && word.chars().all(letters)
}

/// What is told stays, each once.
fn kept(told: Told) -> Result<OwnPoint, HookError> {
    let mut named = NAMED.lock().unwrap_or_else(PoisonError::into_inner);
    let known = named.iter().position(|own| **own == told);
    let place = u16::try_from(known.unwrap_or(named.len())).map_err(|_| HookError::Syntax {
        text: told.name.clone(),
        reason: format!("there are {} points of one's own already", named.len()),
        nearest: None,
    })?;
    if known.is_none() {
        named.push(Box::leak(Box::new(told)));
    }
    Ok(OwnPoint(place))
}
