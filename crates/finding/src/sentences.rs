//! A finding put into words: which places, how much, and what speaks against it.

use std::collections::BTreeMap;

use crate::{Axis, Finding, Labelled, Labels, Modality, PatchLabel, Role, Unit};

/// So many places of a table are named.
const MOST_PLACES: usize = 3;

/// Cells of three by three, row by row.
const CELLS: [[&str; 3]; 3] = [
    ["top left", "top", "top right"],
    ["left", "centre", "right"],
    ["bottom left", "bottom", "bottom right"],
];

impl Finding {
    /// What it says, in sentences: what was explained of which model, where the values of the answer are largest and how much of them lies there, its single numbers, and every caution.
    ///
    /// Each is filled into a template from the tables and the provenance alone. Numbers have three significant digits. Places are named in the order of their size without sign, the first
    /// of equals first; a share is the size of one value over the sum of the sizes of all values of its table. Which ninth of a picture a place lies in is that of its middle.
    pub fn sentences(&self) -> Vec<String> {
        let made = &self.provenance;
        let edited = if made.alterations.is_empty() { "" } else { ", edited" };
        let subject = format!("`{}`{edited}", made.subject);
        let data = made.input.as_ref().and_then(|input| input.data.as_ref());
        let over =
            data.map_or_else(String::new, |data| format!(" over {} cases of `{}`", data.cases, data.name));
        let mut said = vec![match &made.objective {
            Some(objective) => {
                format!("{} explains the {objective} of {subject}{over}.", capital(&made.method))
            }
            None => format!("{} looks at {subject}{over}.", capital(&made.method)),
        }];
        let answer: Vec<&str> = self.answer().iter().map(|table| table.name()).collect();
        let told = self.shown().filter(|table| table.rank() == 0 || answer.contains(&table.name()));
        said.extend(told.filter_map(|table| self.sentence(table)));
        said.extend(
            self.cautions().into_iter().map(|caution| format!("But {}.", caution.text.trim_end_matches('.'))),
        );
        said
    }

    /// What one of its tables says, as [`Labelled::sentence`]; of many texts those with the largest of the numbers that belong to them.
    pub fn sentence(&self, table: &Labelled) -> Option<String> {
        let of_numbers = table.companion(self.tables().iter());
        of_numbers.and_then(|numbers| table.largest_texts(numbers)).or_else(|| table.sentence())
    }
}

impl Labelled {
    /// The numbers among some tables that belong to this one of texts: of the same axes, probabilities first.
    pub fn companion<'t>(&self, tables: impl Iterator<Item = &'t Self> + Clone) -> Option<&'t Self> {
        self.as_texts()?;
        let fits = |table: &&Self| table.as_numbers().is_some() && table.axes() == self.axes();
        let likely = |table: &&Self| matches!(table.unit(), Unit::Probability | Unit::LogProbability);
        let mut all = tables.filter(fits);
        all.clone().find(likely).or_else(|| all.next())
    }

    /// Of more texts than are named: those with the largest numbers, and how many there are.
    fn largest_texts(&self, numbers: &Self) -> Option<String> {
        let (texts, values) = (self.as_texts()?, numbers.as_numbers()?);
        if texts.len() <= MOST_PLACES {
            return None;
        }
        let size = |at: &usize| values.get(*at).map_or(0.0, |value| value.abs());
        let named = |at: &usize| texts.get(*at).is_some_and(|text| !text.is_empty()) && size(at).is_finite();
        let mut order: Vec<usize> = (0..texts.len()).filter(named).collect();
        order.sort_by(|a, b| size(b).total_cmp(&size(a)));
        let told = |at: &usize| {
            let value = number(values.get(*at).copied()?);
            Some(format!("{} ({}: {value})", quoted(texts.get(*at)?), self.place(*at)))
        };
        let first: Vec<String> = order.iter().take(MOST_PLACES).filter_map(told).collect();
        let (name, by) = (self.name(), numbers.name());
        (!first.is_empty()).then(|| {
            format!("`{name}` holds {} texts; with the largest of `{by}` {}.", texts.len(), first.join(", "))
        })
    }

    /// What a table says, in a sentence: its number, or where its values are largest. `None` for a table without values, or of none that is a number.
    pub fn sentence(&self) -> Option<String> {
        let name = format!("`{}`", self.name());
        let unit = self.unit().name();
        if let Some(texts) = self.as_texts() {
            let first: Vec<String> = texts.iter().take(MOST_PLACES).map(|text| quoted(text)).collect();
            let more = texts.len().saturating_sub(first.len());
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            return (!first.is_empty())
                .then(|| format!("{} holds {}{more}.", capital(&name), first.join(", ")));
        }
        if let Some(value) = self.as_scalar() {
            return Some(format!("{} is {} ({unit}).", capital(&name), number(value)));
        }
        let values = self.as_numbers()?;
        let size = |at: &usize| values.get(*at).map_or(0.0, |value| f64::from(value.abs()));
        let mut order: Vec<usize> = (0..values.len()).filter(|at| size(at).is_finite()).collect();
        order.sort_by(|a, b| size(b).total_cmp(&size(a)));
        let total: f64 = order.iter().map(&size).sum();
        if total == 0.0 {
            return (!order.is_empty()).then(|| format!("{} is zero everywhere.", capital(&name)));
        }
        // Shares of what cannot be added, as probabilities and cosines, are none.
        let adds_up = matches!(self.unit(), Unit::Logit | Unit::Nat | Unit::LogProbability | Unit::Count);
        let place = |(rank, at): (usize, &usize)| {
            let value = values.get(*at).copied()?;
            let share = share(size(at) / total);
            let of = match (adds_up, rank) {
                (false, _) => String::new(),
                (true, 0) => format!(", {share} of the sum of all sizes"),
                (true, _) => format!(", {share}"),
            };
            Some(format!("{} ({}{of})", self.place(*at), number(value)))
        };
        let places: Vec<String> = order
            .iter()
            .filter(|at| size(at) > 0.0)
            .take(MOST_PLACES)
            .enumerate()
            .filter_map(place)
            .collect();
        let (first, others) = places.split_first()?;
        let then =
            if others.is_empty() { String::new() } else { format!(", then at {}", others.join(" and ")) };
        Some(format!("In {name} ({unit}) the largest is at {first}{then}."))
    }

    /// Where a value stands, in words.
    fn place(&self, mut at: usize) -> String {
        let mut index = vec![0; self.rank()];
        for (slot, len) in index.iter_mut().zip(self.shape()).rev() {
            (*slot, at) = (at % len.max(1), at / len.max(1));
        }
        let spans = |role: Role| {
            let axis = self.axis_of(role)?;
            match &self.axes().get(axis)?.labels {
                Labels::Spans { image, spans, heard: None } => Some((axis, *image, spans)),
                _ => None,
            }
        };
        let heat = match (spans(Role::Row), spans(Role::Column)) {
            (Some((row, image, rows)), Some((column, _, columns))) => {
                let along = |axis: usize, spans: &[[f32; 2]]| spans.get(*index.get(axis)?).copied();
                along(row, rows).zip(along(column, columns)).map(|([y0, y1], [x0, x1])| {
                    let all = |spans: &[[f32; 2]]| extent(spans.iter().copied());
                    let bbox = [x0, y0, x1, y1];
                    ([row, column], region(image, bbox, [all(columns), all(rows)], false))
                })
            }
            _ => None,
        };
        let own = |(axis, own): (usize, &Axis)| match &heat {
            Some(([row, _], region)) if axis == *row => Some(region.clone()),
            Some(([_, column], _)) if axis == *column => None,
            _ => Some(label(own, *index.get(axis)?)),
        };
        let places: Vec<String> = self.axes().iter().enumerate().filter_map(own).collect();
        places.join(", ")
    }
}

/// The label of a position of an axis, in words.
fn label(axis: &Axis, at: usize) -> String {
    let of_a_patch = |patch: &PatchLabel, all: Vec<&PatchLabel>| {
        let mut pictures: BTreeMap<usize, Vec<[f32; 4]>> = BTreeMap::new();
        all.into_iter().for_each(|other| pictures.entry(other.image).or_default().push(other.bbox));
        let several = pictures.len() > 1;
        let boxes = pictures.remove(&patch.image).unwrap_or_default();
        let along = |low: usize, high: usize| {
            extent(boxes.iter().filter_map(|bbox| Some([*bbox.get(low)?, *bbox.get(high)?])))
        };
        region(patch.image, patch.bbox, [along(0, 2), along(1, 3)], several)
    };
    match &axis.labels {
        Labels::Patches(patches) => {
            patches.get(at).map_or_else(String::new, |patch| of_a_patch(patch, patches.iter().collect()))
        }
        Labels::Tokens(tokens) => match tokens.get(at) {
            Some(token) => match &token.patch {
                // A part of a recording has its seconds in its name.
                Some(_) if token.modality == Modality::Audio => token.label(),
                Some(patch) => {
                    of_a_patch(patch, tokens.iter().filter_map(|own| own.patch.as_ref()).collect())
                }
                None if token.modality == Modality::Special => format!("the marker {}", quoted(&token.text)),
                None => quoted(token.text.trim()),
            },
            None => String::new(),
        },
        Labels::Names(_) => axis.label(at).map_or_else(String::new, |name| format!("`{name}`")),
        Labels::Spans { heard: Some(_), .. } => axis.label(at).unwrap_or_default(),
        _ => format!("{} {}", axis.role, axis.label(at).unwrap_or_default()),
    }
}

/// From the least to the largest of some spans.
fn extent(spans: impl Iterator<Item = [f32; 2]>) -> [f32; 2] {
    spans.reduce(|[low, high], [from, to]| [low.min(from), high.max(to)]).unwrap_or([0.0; 2]) // no NaN: places are finite
}

/// A box on a picture of some extent, in words.
fn region(image: usize, [x0, y0, x1, y1]: [f32; 4], [wide, high]: [[f32; 2]; 2], several: bool) -> String {
    let third = |from: f32, to: f32, [low, high]: [f32; 2]| {
        let middle = (f64::from(from) + f64::from(to)) / 2.0 - f64::from(low);
        let all = f64::from(high) - f64::from(low);
        // no NaN: places are finite
        if all > 0.0 { (3.0 * middle / all).clamp(0.0, 2.0) as usize } else { 1 }
    };
    let cell = CELLS.get(third(y0, y1, high)).and_then(|row| row.get(third(x0, x1, wide)));
    let of = if several || image > 0 { format!("picture {}", image + 1) } else { "the picture".to_owned() };
    format!("the {} of {of} (x {x0} to {x1}, y {y0} to {y1} px)", cell.copied().unwrap_or("centre"))
}

/// A number with three significant digits.
fn number(value: f32) -> String {
    let size = f64::from(value.abs());
    match size {
        0.0 => "0".to_owned(),
        1e-4..1e6 => {
            let decimals = 2 - size.log10().floor() as i32;
            format!("{value:.*}", usize::try_from(decimals).unwrap_or(0))
        }
        _ => format!("{value:.2e}"),
    }
}

fn share(share: f64) -> String {
    if share < 0.01 { "less than 1 %".to_owned() } else { format!("{:.0} %", 100.0 * share) }
}

/// In quotes, on one line.
fn quoted(text: &str) -> String {
    format!("“{}”", text.replace('\n', "\\n"))
}

/// With a capital, where it begins with a letter.
fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::number;
    use crate::{
        Axis, Caution, CautionKind, Finding, Labelled, Modality, PatchLabel, Provenance, Role, TokenLabel,
        Unit,
    };

    fn table(axes: Vec<Axis>, values: Vec<f32>) -> Labelled {
        Labelled::numbers("drops", Unit::Logit, axes, values).unwrap()
    }

    #[test]
    fn a_heat_map_is_told_by_its_places() {
        let spans = |to: f32| vec![[0.0, to / 3.0], [to / 3.0, 2.0 * to / 3.0], [2.0 * to / 3.0, to]];
        let axes = vec![Axis::spans(Role::Row, 0, spans(30.0)), Axis::spans(Role::Column, 0, spans(60.0))];
        let values = vec![0.5, 0.0, -1.0, 0.0, 6.0, 0.0, 0.0, 0.0, 2.5];
        assert_eq!(
            table(axes, values).sentence().unwrap(),
            "In `drops` (logit) the largest is at the centre of the picture (x 20 to 40, y 10 to 20 px) (6.00, 60 % of the sum of all sizes), \
             then at the bottom right of the picture (x 40 to 60, y 20 to 30 px) (2.50, 25 %) and the top right of the picture (x 40 to 60, y 0 to 10 px) \
             (-1.00, 10 %)."
        );
    }

    #[test]
    fn words_patches_layers_and_names_are_told_as_they_are_called() {
        let patch = |image: usize, x: f32| PatchLabel {
            image,
            tile: 0,
            frame: 0,
            row: 0,
            col: 0,
            bbox: [x, 0.0, x + 8.0, 24.0],
        };
        let tokens = vec![
            TokenLabel::new("<image>", Modality::Image).with_patch(patch(0, 0.0)),
            TokenLabel::new("<image>", Modality::Image).with_patch(patch(1, 16.0)),
            TokenLabel::new("<image>", Modality::Image).with_patch(patch(1, 0.0)),
            TokenLabel::new(" red", Modality::Text),
            TokenLabel::new("</s>", Modality::Special),
        ];
        let told =
            table(vec![Axis::count(Role::Layer, 1), Axis::tokens(tokens)], vec![0.0, 8.0, 0.0, -4.0, 4.0]);
        assert_eq!(
            told.sentence().unwrap(),
            "In `drops` (logit) the largest is at layer 0, the right of picture 2 (x 16 to 24, y 0 to 24 px) (8.00, 50 % of the sum of all sizes), then at \
             layer 0, “red” (-4.00, 25 %) and layer 0, the marker “</s>” (4.00, 25 %)."
        );
        let named = table(vec![Axis::names(Role::Concept, ["words", "pictures"])], vec![0.001, 200.0]);
        assert_eq!(
            named.sentence().unwrap(),
            "In `drops` (logit) the largest is at `pictures` (200, 100 % of the sum of all sizes), then at `words` (0.00100, less than 1 %)."
        );
        let zero = table(vec![Axis::count(Role::Layer, 2)], vec![0.0, -0.0]);
        assert_eq!(zero.sentence().unwrap(), "`drops` is zero everywhere.");
        assert_eq!(table(vec![Axis::count(Role::Layer, 0)], vec![]).sentence(), None);
    }

    #[test]
    fn a_finding_is_told_whole_with_what_speaks_against_it() {
        let caution = Caution::new(CautionKind::FewRows, 3.0, "of 3 rows little is told");
        let mut tables = vec![
            table(vec![Axis::count(Role::Layer, 2)], vec![1.0, -3.0]),
            Labelled::scalar("objective", Unit::Logit, 2.5),
            table(vec![Axis::count(Role::Layer, 2)], vec![1.0, -3.0]).renamed("beside").aside(),
        ];
        tables.extend(Caution::tables(&[caution]).unwrap());
        let mut provenance = Provenance::new("layer-skipping", "toy");
        provenance.objective = Some("logit of token 3".to_owned());
        let finding = Finding::new(provenance, tables).unwrap();
        assert_eq!(
            finding.sentences(),
            [
                "Layer-skipping explains the logit of token 3 of `toy`.",
                "In `drops` (logit) the largest is at layer 1 (-3.00, 75 % of the sum of all sizes), then at layer 0 (1.00, 25 %).",
                "`objective` is 2.50 (logit).",
                "But of 3 rows little is told.",
            ]
        );
    }

    /// Of many texts those are told that weigh most, not those that stand first; what has no name is none of them.
    #[test]
    fn many_texts_are_told_by_what_they_weigh() {
        let axes = || vec![Axis::count(Role::Sample, 2), Axis::count(Role::Rank, 3)];
        let texts = ["red", "blue", "", "a\nb", "square", "star"].map(str::to_owned).to_vec();
        let words = Labelled::texts("concepts", axes(), texts).unwrap();
        let weights = vec![0.5, 0.25, 9.0, -0.75, 0.5, f32::NAN];
        let weights = Labelled::numbers("weights", Unit::None, axes(), weights).unwrap();
        let alone = Labelled::scalar("objective", Unit::Logit, 2.5);
        let finding = |tables| Finding::new(Provenance::new("splice", "toy"), tables).unwrap();
        let both = finding(vec![words.clone(), alone.clone(), weights.clone()]);
        let told = "`concepts` holds 6 texts; with the largest of `weights` “a\\nb” (sample 1, rank 0: -0.750), “red” (sample 0, rank 0: 0.500), \
                    “square” (sample 1, rank 1: 0.500).";
        assert_eq!((both.sentences()[1].as_str(), both.sentence(&words).unwrap().as_str()), (told, told));
        assert_eq!(
            finding(vec![words.clone(), alone.clone()]).sentences()[1],
            "`concepts` holds “red”, “blue”, “” and 3 more."
        );
        // Probabilities before other numbers of the same axes; none to numbers.
        let chances = Labelled::numbers("chances", Unit::Probability, axes(), vec![0.0; 6]).unwrap();
        let all = [alone, weights.clone(), chances];
        assert_eq!(words.companion(all.iter()).unwrap().name(), "chances");
        assert!(weights.companion(all.iter()).is_none());
    }

    #[test]
    fn numbers_have_three_digits() {
        let told = [0.0, 1.0, -12.345, 123.45, 99999.0, 1.5e7, 0.012345, -1.5e-5].map(number);
        assert_eq!(told, ["0", "1.00", "-12.3", "123", "99999", "1.50e7", "0.0123", "-1.50e-5"]);
    }
}
