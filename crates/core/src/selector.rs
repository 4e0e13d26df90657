//! Choosing sites by pattern: `text.blocks.*.resid_post`, `vision.blocks.3..6.attn.{q,k}`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::site::closest;
use crate::{HookError, Site, SiteSpec};

/// A pattern of sites. A `*` stands for one segment, `a..b` for block numbers from `a` up to but not
/// including `b` (either end may be left out), `{x,y}` for a list of alternatives.
///
/// ```
/// use mmlens_core::Selector;
/// let late: Selector = "text.blocks.2...resid_{pre,post}".parse().unwrap_or_else(|e| panic!("{e}"));
/// assert!(late.matches(&"text.blocks.7.resid_post".parse().unwrap()));
/// assert!(!late.matches(&"text.blocks.1.resid_post".parse().unwrap()));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Selector {
    text: String,
    segments: Vec<Segment>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    Any,
    Range(usize, usize),
    /// Alternatives, each a literal.
    OneOf(Vec<String>),
}

impl Segment {
    fn accepts(&self, segment: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Range(from, to) => segment.parse::<usize>().is_ok_and(|n| (*from..*to).contains(&n)),
            Self::OneOf(names) => names.iter().any(|n| n == segment),
        }
    }
}

impl Selector {
    /// Whether the pattern fits a site.
    pub fn matches(&self, site: &Site) -> bool {
        let (point, block) = (site.point().name(), site.block_index());
        let length = 1 + 2 * usize::from(block.is_some()) + point.split('.').count();
        let mut segments = self.segments.iter();
        let mut next = |part: &str| segments.next().is_some_and(|segment| segment.accepts(part));
        length == self.segments.len()
            && next(site.part().name())
            && block.is_none_or(|block| next("blocks") && next(&block.to_string()))
            && point.split('.').all(next)
    }

    /// The published sites it fits, in the order of a pass.
    ///
    /// # Errors
    /// [`HookError::NoSuchSite`] if it fits none, with the nearest site there is.
    pub fn resolve(&self, subject: &str, published: &[SiteSpec]) -> Result<Vec<Site>, HookError> {
        let found: Vec<Site> = published.iter().map(|s| s.site).filter(|s| self.matches(s)).collect();
        if found.is_empty() {
            let names = published.iter().map(|s| s.site.to_string());
            let nearest = closest(&self.text, names);
            return Err(HookError::NoSuchSite {
                subject: subject.to_owned(),
                asked: self.text.clone(),
                nearest,
            });
        }
        Ok(found)
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<Site> for Selector {
    fn from(site: Site) -> Self {
        let text = site.to_string();
        let segments = text.split('.').map(|s| Segment::OneOf(vec![s.to_owned()])).collect();
        Self { text, segments }
    }
}

impl FromStr for Selector {
    type Err = HookError;

    fn from_str(text: &str) -> Result<Self, HookError> {
        let fail = |reason: String| HookError::Syntax { text: text.to_owned(), reason, nearest: None };
        let mut segments = Vec::new();
        for raw in split(text) {
            segments.push(parse_segment(&raw).map_err(&fail)?);
        }
        if segments.len() < 2 {
            return Err(fail("a selector is `part.point` or `part.blocks.i.point`".to_owned()));
        }
        // A selector without any pattern must be a well-formed site, so that a typo is found at once.
        if segments.iter().all(|s| matches!(s, Segment::OneOf(names) if names.len() == 1)) {
            text.parse::<Site>()?;
        }
        Ok(Self { text: text.to_owned(), segments })
    }
}

impl TryFrom<String> for Selector {
    type Error = HookError;

    fn try_from(text: String) -> Result<Self, HookError> {
        text.parse()
    }
}

impl From<Selector> for String {
    fn from(selector: Selector) -> Self {
        selector.text
    }
}

impl TryFrom<&str> for Selector {
    type Error = HookError;

    fn try_from(text: &str) -> Result<Self, HookError> {
        text.parse()
    }
}

impl TryFrom<&String> for Selector {
    type Error = HookError;

    fn try_from(text: &String) -> Result<Self, HookError> {
        text.parse()
    }
}

/// Splits at single dots outside braces; `..` belongs to a range, and the dot after an open range separates.
fn split(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let (mut out, mut current, mut depth, mut i) = (Vec::new(), String::new(), 0_usize, 0);
    while let Some(&c) = chars.get(i) {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if c == '.' && depth == 0 {
            if chars.get(i + 1) == Some(&'.') {
                current.push_str("..");
                i += 2;
                continue;
            }
            out.push(std::mem::take(&mut current));
        } else {
            current.push(c);
        }
        i += 1;
    }
    out.push(current);
    out
}

fn parse_segment(raw: &str) -> Result<Segment, String> {
    if raw == "*" {
        return Ok(Segment::Any);
    }
    if let Some((from, to)) = raw.split_once("..") {
        let bound = |s: &str, open: usize| {
            if s.is_empty() {
                Ok(open)
            } else {
                s.parse().map_err(|_| format!("`{s}` in `{raw}` is no block number"))
            }
        };
        let (from, to) = (bound(from, 0)?, bound(to, usize::MAX)?);
        return if from < to {
            Ok(Segment::Range(from, to))
        } else {
            Err(format!("the range `{raw}` is empty"))
        };
    }
    let names = match (raw.find('{'), raw.find('}')) {
        (None, None) => vec![raw.to_owned()],
        (Some(open), Some(close)) if open < close && close == raw.rfind('}').unwrap_or(close) => {
            let (head, tail) = (&raw[..open], &raw[close + 1..]);
            raw[open + 1..close].split(',').map(|x| format!("{head}{}{tail}", x.trim())).collect()
        }
        _ => return Err(format!("the braces in `{raw}` do not match")),
    };
    if names.iter().any(String::is_empty) {
        return Err("a segment is empty".to_owned());
    }
    Ok(Segment::OneOf(names))
}
