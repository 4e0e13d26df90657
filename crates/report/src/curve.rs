//! Values along layers, steps or frames as a small drawing.

use std::fmt::Write;

use mmlens_finding::{Labelled, Unit};

use crate::html::{number, text};

const WIDTH: f64 = 340.0;
const HEIGHT: f64 = 178.0;
const LEFT: f64 = 46.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 38.0;
/// Between left and right, for labels.
const SPAN: usize = 280;
/// Labels of more letters are cut.
const MOST_LETTERS: usize = 20;

/// A curve along one axis, or one for each position of another. Values that are no number leave a gap.
pub(crate) fn curve(table: &Labelled, along: usize, lines: Option<usize>) -> String {
    let Some(axis) = table.axes().get(along) else { return String::new() };
    let names: Vec<String> = match lines.and_then(|lines| table.axes().get(lines)) {
        Some(lines) => (0..lines.len()).filter_map(|i| lines.label(i)).collect(),
        None => vec![String::new()],
    };
    let value = |line: usize, i: usize| {
        let index = match lines {
            Some(lines) if lines < along => vec![line, i],
            Some(_) => vec![i, line],
            None => vec![i],
        };
        table.get(&index).filter(|v| v.is_finite())
    };
    let frame = Frame::of(table, axis.len());
    let mut svg = String::new();
    frame.rules(&mut svg);
    let widest = (0..axis.len()).filter_map(|i| axis.label(i)).map(|label| label.chars().count()).max();
    let widest = widest.unwrap_or(0).min(MOST_LETTERS);
    for i in ticks(axis.len(), widest) {
        let label = clipped(&axis.label(i).unwrap_or_default());
        // Labels that would reach beyond the drawing end, or begin, where it does.
        let anchor = match label.chars().count() {
            letters if i == 0 && letters > 14 && axis.len() > 1 => "start",
            letters if i + 1 == axis.len() && letters > 4 && i > 0 => "end",
            _ => "middle",
        };
        let (x, y, label) = (frame.x(i), HEIGHT - 18.0, text(&label));
        let _ = write!(svg, r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{label}</text>"#);
    }
    let _ = write!(
        svg,
        r#"<text class="axis" x="{:.1}" y="{:.1}" text-anchor="middle">{}</text>"#,
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 2.0,
        axis.role
    );
    for (line, name) in names.iter().enumerate() {
        let _ = write!(svg, r#"<g class="line line-{}">"#, line % 5);
        let mut path = String::new();
        let mut pen = false;
        for i in 0..axis.len() {
            if let Some(v) = value(line, i) {
                let _ = write!(path, "{}{:.1} {:.1}", if pen { 'L' } else { 'M' }, frame.x(i), frame.y(v));
            }
            pen = value(line, i).is_some();
        }
        let _ = write!(svg, r#"<path d="{path}"/>"#);
        for i in 0..axis.len() {
            if let Some(v) = value(line, i) {
                let label = axis.label(i).unwrap_or_default();
                let title = text(&format!("{name} {} {label}: {}", axis.role, measure(v, table.unit())));
                let _ = write!(
                    svg,
                    r#"<circle cx="{:.1}" cy="{:.1}" r="{}"><title>{}</title></circle>"#,
                    frame.x(i),
                    frame.y(v),
                    if axis.len() > 40 { 1.5 } else { 2.5 },
                    title.trim_start()
                );
            }
        }
        svg.push_str("</g>");
    }
    let legend = if lines.is_some() { key(&names) } else { String::new() };
    let said = text(&format!(
        "{} along {} positions of {}, from {} to {}",
        table.name(),
        axis.len(),
        axis.role,
        number(frame.min),
        number(frame.max)
    ));
    format!(
        r#"<svg class="curve" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{said}">{svg}</svg>{legend}"#
    )
}

/// A number with its unit.
pub(crate) fn measure(value: f32, unit: Unit) -> String {
    if matches!(unit, Unit::None | Unit::Count) { number(value) } else { format!("{} {unit}", number(value)) }
}

fn key(names: &[String]) -> String {
    let entries = names.iter().enumerate();
    let entries: String =
        entries.map(|(i, name)| format!(r#"<li class="line-{}">{}</li>"#, i % 5, text(name))).collect();
    format!(r#"<ul class="key">{entries}</ul>"#)
}

fn clipped(label: &str) -> String {
    if label.chars().count() <= MOST_LETTERS {
        return label.to_owned();
    }
    label.chars().take(MOST_LETTERS - 1).chain(['\u{2026}']).collect()
}

/// Up to seven positions that get a label, evenly spread, first and last among them: fewer where labels of so many
/// characters would touch.
fn ticks(len: usize, widest: usize) -> Vec<usize> {
    // the last of long labels stands on the left of its place
    let wide = if widest > 4 { 9 * widest + 10 } else { 6 * widest + 10 };
    let count = (SPAN / wide).clamp(2, 7).min(len);
    let gaps = count.saturating_sub(1).max(1);
    (0..count).map(|i| (i * (len - 1) + gaps / 2) / gaps).collect()
}

struct Frame {
    len: usize,
    min: f32,
    max: f32,
    lo: f64,
    hi: f64,
}

impl Frame {
    fn of(table: &Labelled, len: usize) -> Self {
        let finite = table.as_numbers().unwrap_or_default().iter().copied().filter(|v| v.is_finite());
        let ends = (f32::INFINITY, f32::NEG_INFINITY);
        // no NaN: the scale of what is drawn
        let (min, max) = finite.fold(ends, |(lo, hi), v| (lo.min(v), hi.max(v)));
        let (min, max) = if min <= max { (min, max) } else { (0.0, 0.0) };
        let (mut lo, mut hi) = (f64::from(min), f64::from(max));
        // zero belongs to the picture unless the values lie in a narrow band far from it
        if lo > 0.0 && lo < 0.5 * hi {
            lo = 0.0;
        } else if hi < 0.0 && hi > 0.5 * lo {
            hi = 0.0;
        }
        if hi <= lo {
            let half = if lo == 0.0 { 1.0 } else { 0.5 * lo.abs() };
            (lo, hi) = (lo - half, hi + half);
        }
        Self { len, min, max, lo, hi }
    }

    fn x(&self, i: usize) -> f64 {
        let span = WIDTH - LEFT - RIGHT;
        if self.len < 2 { LEFT + span / 2.0 } else { LEFT + span * i as f64 / (self.len - 1) as f64 }
    }

    fn y(&self, value: f32) -> f64 {
        let share = (f64::from(value) - self.lo) / (self.hi - self.lo);
        HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share
    }

    /// Lines at the ends and at zero, each with its number.
    #[expect(clippy::cast_possible_truncation, reason = "ends that came from f32")]
    fn rules(&self, svg: &mut String) {
        let mut at = vec![self.lo, self.hi];
        if self.lo < 0.0 && self.hi > 0.0 {
            at.push(0.0);
        }
        for value in at {
            let y = self.y(value as f32);
            let zero = if value == 0.0 { " zero" } else { "" };
            let close = value != 0.0 && at_zero(y, self);
            let _ = write!(
                svg,
                r#"<line class="rule{zero}" x1="{LEFT}" x2="{:.1}" y1="{y:.1}" y2="{y:.1}"/>"#,
                WIDTH - RIGHT
            );
            if !close {
                let _ = write!(
                    svg,
                    r#"<text x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"#,
                    LEFT - 6.0,
                    y + 3.5,
                    number(value as f32)
                );
            }
        }
    }
}

/// Whether a number at this height would touch the one of zero.
fn at_zero(y: f64, frame: &Frame) -> bool {
    frame.lo < 0.0 && frame.hi > 0.0 && (y - frame.y(0.0)).abs() < 11.0
}

#[cfg(test)]
mod tests {
    use mmlens_finding::{Axis, Labelled, Role, Unit};

    use super::{curve, ticks};

    fn table(values: Vec<f32>) -> Labelled {
        let axis = Axis::count(Role::Layer, values.len());
        Labelled::numbers("norm", Unit::Logit, vec![axis], values).unwrap()
    }

    #[test]
    fn ends_are_always_labelled() {
        assert_eq!(ticks(5, 1), [0, 1, 2, 3, 4]);
        // six gaps of 31 / 6, rounded
        assert_eq!(ticks(32, 2), [0, 5, 10, 16, 21, 26, 31]);
        // 280 / (9 * 6 + 10) = 4 labels, 280 / (9 * 12 + 10) = 2
        assert_eq!(ticks(32, 6), [0, 10, 21, 31]);
        assert_eq!(ticks(5, 12), [0, 4]);
        assert_eq!(ticks(5, 99), [0, 4]);
        assert_eq!(ticks(1, 1), [0]);
        assert_eq!(ticks(0, 0), Vec::<usize>::new());
    }

    #[test]
    fn a_line_runs_from_the_least_to_the_largest() {
        // zero to one: 0 lies on the floor at 178 - 38 = 140, 1 on the ceiling at 12, 0.5 between them at 76
        let svg = curve(&table(vec![0.0, 0.5, 1.0]), 0, None);
        assert!(svg.contains(r#"<path d="M46.0 140.0L186.0 76.0L326.0 12.0"/>"#), "{svg}");
        assert!(svg.contains("layer 1: 0.500 logit"), "{svg}");
    }

    #[test]
    fn gaps_constants_and_nothing_are_drawn() {
        let svg = curve(&table(vec![1.0, f32::NAN, 1.0, 1.0]), 0, None);
        assert_eq!(svg.matches('M').count(), 2, "{svg}");
        assert_eq!(svg.matches("<circle").count(), 3);
        assert!(!curve(&table(vec![f32::NAN]), 0, None).contains("NaN"));
        assert!(!curve(&table(vec![]), 0, None).contains("NaN"));
    }

    #[test]
    fn several_lines_have_a_key() {
        let axes = vec![Axis::names(Role::Concept, ["<b>", "mlp"]), Axis::count(Role::Layer, 2)];
        let table = Labelled::numbers("n", Unit::Logit, axes, vec![1.0, 2.0, 3.0, 4.0]).unwrap();
        let svg = curve(&table, 1, Some(0));
        assert_eq!(svg.matches("<path").count(), 2);
        assert!(svg.contains(r#"<li class="line-0">&lt;b&gt;</li>"#), "{svg}");
        assert!(svg.contains("mlp layer 1: 4 logit"), "{svg}");
    }
}
