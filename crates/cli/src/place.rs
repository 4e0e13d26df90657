//! `--layer`, `--head` and `--site`: where methods look, said once for all of them.

use std::str::FromStr;

use anyhow::Result;
use clap::Args;
use mmlens::core::{Method, Point, Site};
use serde_json::{Map, Value, json};

use crate::methods::Set;
use crate::refusal::Refusal;

/// Where methods look.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct PlaceArgs {
    /// Looks at these layers alone, in every method that goes through layers: numbers from 0 and ranges, such as 0,4-7, or all. Methods
    /// that do not are left out, or refused where `--method` names them.
    #[arg(long, value_name = "LAYERS")]
    layer: Option<Numbers>,
    /// Looks at these heads alone, in every method that can: numbers from 0 and ranges, or all. Patching puts each back by itself,
    /// knock-out cuts in all of them at once.
    #[arg(long, value_name = "HEADS")]
    head: Option<Numbers>,
    /// Looks at this site in the place of where the method looks by itself, such as text.blocks.2.mlp_out; repeat it for several.
    #[arg(long, value_name = "SITE")]
    site: Vec<Site>,
}

/// Numbers and ranges of them, or all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Numbers {
    All,
    At(Vec<usize>),
}

/// The most numbers that a range names.
const MOST: usize = 4096;

impl FromStr for Numbers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self::All);
        }
        let wrong =
            |part: &str| format!("`{part}` is no number or range; expected such as `0,4-7`, or `all`");
        let mut numbers = Vec::new();
        for part in text.split(',').map(str::trim) {
            let number = |text: &str| text.trim().parse::<usize>().map_err(|_| wrong(part));
            let (from, to) = match part.split_once('-') {
                Some((from, to)) => (number(from)?, number(to)?),
                None => (number(part)?, number(part)?),
            };
            if from > to || to - from >= MOST || numbers.len() >= MOST {
                return Err(format!(
                    "`{part}`: a range leads from a number to a larger one, over at most {MOST}"
                ));
            }
            numbers.extend(from..=to);
        }
        Ok(Self::At(numbers))
    }
}

impl Numbers {
    fn setting(&self) -> Value {
        match self {
            Self::All => json!("all"),
            Self::At(numbers) => json!({ "at": numbers }),
        }
    }
}

/// The settings that say where a method looks, by the names they have in every method.
const LAYERS: &str = "layers";
const HEADS: &str = "heads";
const SITES: &str = "sites";
const POINTS: &str = "points";
const POINT: &str = "point";
const PART: &str = "part";

/// Methods that look somewhere, their settings, and those that cannot look there, with why not.
#[derive(Default)]
pub(crate) struct Placed {
    pub(crate) rows: Vec<&'static Method>,
    pub(crate) sets: Vec<Set>,
    pub(crate) left: Vec<(&'static str, String)>,
}

impl PlaceArgs {
    /// Of some methods those that can look there, and the settings that tell them so.
    ///
    /// # Errors
    /// [`Refusal::NoPlace`] for a method that cannot, if `named`, or if none can; [`Refusal::NoGrid`] for sites that a method of points
    /// and layers cannot look at.
    pub(crate) fn of(&self, rows: Vec<&'static Method>, named: bool) -> Result<Placed> {
        let mut placed = Placed::default();
        for method in rows {
            let settings = method.defaults()?;
            let short = method.card.short;
            let sets = match self.lacking(&settings) {
                None => self.sets(method, &settings),
                Some(option) => Err(Refusal::NoPlace { option, method: short.to_owned() }),
            };
            match sets {
                Ok(sets) => {
                    placed.sets.extend(sets);
                    placed.rows.push(method);
                }
                Err(refused) if named => return Err(refused.into()),
                Err(refused) => placed.left.push((short, refused.to_string())),
            }
        }
        match placed.rows.is_empty() {
            true => {
                let option = [("layer", self.layer.is_some()), ("head", self.head.is_some())];
                let option = option.iter().find(|(_, given)| *given).map_or("site", |(option, _)| option);
                Err(Refusal::NoPlace { option, method: "all methods of a first look".to_owned() }.into())
            }
            false => Ok(placed),
        }
    }

    /// The option that a method with such settings does not take.
    fn lacking(&self, settings: &Value) -> Option<&'static str> {
        let has = |name: &str| settings.get(name).is_some();
        let points = (has(POINTS) || has(POINT)) && has(LAYERS);
        let asked = [
            ("layer", self.layer.is_some(), has(LAYERS)),
            ("head", self.head.is_some(), has(HEADS)),
            ("site", !self.site.is_empty(), has(SITES) || points),
        ];
        asked.into_iter().find(|(_, asked, has)| *asked && !has).map(|(option, ..)| option)
    }

    fn sets(&self, method: &'static Method, settings: &Value) -> Result<Vec<Set>, Refusal> {
        let has = |name: &str| settings.get(name).is_some();
        let mut own = Map::new();
        if !self.site.is_empty() {
            match has(SITES) {
                true => drop(own.insert(SITES.to_owned(), json!(self.site))),
                false if has(POINT) => own.extend(self.point(method)?),
                false => own.extend(self.grid(method, has(PART))?),
            }
        } else if self.head.is_some() && has(POINTS) {
            // The stream, which is looked at by default, has no heads.
            own.insert(POINTS.to_owned(), json!([Point::Z]));
        }
        if let Some(layers) = &self.layer {
            if own.contains_key(LAYERS) {
                let short = method.card.short.to_owned();
                return Err(Refusal::TwoPlaces { method: short });
            }
            own.insert(LAYERS.to_owned(), layers.setting());
        }
        if let Some(heads) = &self.head {
            own.insert(HEADS.to_owned(), heads.setting());
        }
        Ok(own.into_iter().map(|(setting, value)| Set::new(method.card.short, setting, value)).collect())
    }

    /// Sites as one point of a part, and the layers, where it lies in them.
    fn point(&self, method: &'static Method) -> Result<Map<String, Value>, Refusal> {
        let same = |one: &Site, other: &Site| {
            (one.part(), one.point(), one.block_index().is_some())
                == (other.part(), other.point(), other.block_index().is_some())
        };
        let first = self.site.first().filter(|first| self.site.iter().all(|site| same(first, site)));
        let Some(first) = first else {
            let sites = self.site.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            return Err(Refusal::NoPoint { method: method.card.short, sites });
        };
        let mut own = Map::new();
        own.insert(POINT.to_owned(), json!(first.point()));
        own.insert(PART.to_owned(), json!(first.part()));
        let layers: Vec<usize> = self.site.iter().filter_map(Site::block_index).collect();
        if !layers.is_empty() {
            own.insert(LAYERS.to_owned(), json!({ "at": layers }));
        }
        Ok(own)
    }

    /// Sites as points and layers of one part.
    fn grid(&self, method: &'static Method, parts: bool) -> Result<Map<String, Value>, Refusal> {
        let mut layers: Vec<usize> = self.site.iter().filter_map(Site::block_index).collect();
        let (mut points, mut named): (Vec<Point>, Vec<_>) = (Vec::new(), Vec::new());
        for site in &self.site {
            if !points.contains(&site.point()) {
                points.push(site.point());
            }
            if !named.contains(&site.part()) {
                named.push(site.part());
            }
        }
        layers.sort_unstable();
        layers.dedup();
        let mut distinct = self.site.clone();
        distinct.sort_unstable();
        distinct.dedup();
        let whole = named.len() == 1
            && (parts || named == [mmlens::core::Part::Text])
            && self.site.iter().all(|site| site.block_index().is_some())
            && distinct.len() == layers.len() * points.len();
        if !whole {
            let sites = self.site.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            return Err(Refusal::NoGrid { method: method.card.short, sites });
        }
        let mut own = Map::new();
        own.insert(POINTS.to_owned(), json!(points));
        own.insert(LAYERS.to_owned(), json!({ "at": layers }));
        if parts {
            own.insert(PART.to_owned(), json!(named.first()));
        }
        Ok(own)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::methods::{chosen, made};

    fn settings(place: &PlaceArgs, names: &[&str]) -> Result<Vec<(&'static str, Value)>> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let Placed { rows, sets, .. } = place.of(chosen(&names), !names.is_empty())?;
        let made = made(&rows, &sets, &[])?;
        Ok(rows.iter().zip(made).map(|(row, made)| (row.card.short, made.settings().unwrap())).collect())
    }

    fn place(layer: &str, head: &str, site: &[&str]) -> PlaceArgs {
        let numbers = |text: &str| (!text.is_empty()).then(|| text.parse().unwrap());
        let site = site.iter().map(|site| site.parse().unwrap()).collect();
        PlaceArgs { layer: numbers(layer), head: numbers(head), site }
    }

    #[test]
    fn numbers_and_ranges_are_read() {
        assert_eq!("0, 4-6".parse(), Ok(Numbers::At(vec![0, 4, 5, 6])));
        assert_eq!("all".parse(), Ok(Numbers::All));
        for wrong in ["", "a", "3-1", "1-", "-2", "0-99999", "1..3", "18446744073709551616"] {
            assert!(wrong.parse::<Numbers>().is_err(), "{wrong}");
        }
    }

    /// Whatever method has settings of these names takes what the options say.
    #[test]
    fn the_names_mean_the_same_in_every_method() {
        for method in mmlens::METHODS {
            let defaults = method.defaults().unwrap();
            for (name, value) in [
                (LAYERS, json!({ "at": [0] })),
                (LAYERS, json!("all")),
                (HEADS, json!({ "at": [0] })),
                (HEADS, json!("all")),
                (SITES, json!(["text.blocks.0.mlp_out"])),
            ] {
                if defaults.get(name).is_some() {
                    let mut own = Map::new();
                    own.insert(name.to_owned(), value);
                    method.make(Value::Object(own)).unwrap();
                }
            }
        }
    }

    #[test]
    fn what_can_look_there_does_and_the_rest_is_left_out_or_refused() {
        let found = settings(&place("1", "", &[]), &[]).unwrap();
        let names: Vec<_> = found.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["attention", "logit-lens", "patching", "attribution", "knockout"]);
        assert!(found.iter().all(|(_, settings)| settings["layers"] == json!({ "at": [1] })));

        let found = settings(&place("", "all", &[]), &["patching", "knockout"]).unwrap();
        assert_eq!((&found[0].1["heads"], &found[0].1["points"]), (&json!("all"), &json!(["attn.z"])));
        assert_eq!(found[1].1["heads"], json!("all"));

        let said = |place: &PlaceArgs, names: &[&str]| format!("{:#}", settings(place, names).unwrap_err());
        assert_eq!(
            said(&place("1", "", &[]), &["ig"]),
            "`--layer` is nothing to ig; `mmlens methods ID` tells what a method has"
        );
        let two = ["text.blocks.0.mlp_out", "text.blocks.1.attn_out"];
        assert!(said(&place("", "", &two), &["patching"]).contains("the same points of the same layers"));
        assert!(said(&place("1", "", &two[..1]), &["patching"]).contains("`--site` names its layer"));
    }

    #[test]
    fn sites_are_where_a_path_runs_or_points_of_layers() {
        let sites = ["text.blocks.0.mlp_out", "text.blocks.2.mlp_out"];
        let found = settings(&place("", "", &sites), &["ig", "patching", "attribution"]).unwrap();
        assert_eq!(found[0].1["sites"], json!(sites));
        for (name, settings) in &found[1..] {
            assert_eq!(settings["points"], json!(["mlp_out"]), "{name}");
            assert_eq!(settings["layers"], json!({ "at": [0, 2] }), "{name}");
        }
        assert_eq!(found[1].1["part"], json!("text"));
        // One point, and for some methods it lies behind another, or outside the blocks.
        let features = ["text.blocks.0.resid_post.sae.features", "text.blocks.2.resid_post.sae.features"];
        let found = settings(&place("", "", &features), &["exemplars"]).unwrap();
        let told = |at: &str| found[0].1[at].clone();
        assert_eq!(told("point"), json!("resid_post.sae.features"));
        assert_eq!((told("layers"), told("part")), (json!({ "at": [0, 2] }), json!("text")));
        let found = settings(&place("", "", &["vision.features.sae.features"]), &["exemplars"]).unwrap();
        assert_eq!((&found[0].1["layers"], &found[0].1["part"]), (&json!("all"), &json!("vision")));
        let others = place("", "", &["text.blocks.0.mlp.post", "text.blocks.0.mlp.gate"]);
        let said = format!("{:#}", settings(&others, &["exemplars"]).unwrap_err());
        assert!(said.contains("exemplars looks at one point, of some layers of one part"), "{said}");
        let tower = place("", "", &["vision.blocks.1.attn_out"]);
        assert_eq!(settings(&tower, &["patching"]).unwrap()[0].1["part"], json!("vision"));
        assert_eq!(settings(&tower, &["attribution"]).unwrap()[0].1["part"], json!("vision"));
        let (one, other) = ("vision.blocks.1.attn_out", "text.blocks.1.attn_out");
        assert!(settings(&place("", "", &[one, other]), &["attribution"]).is_err());
    }
}
