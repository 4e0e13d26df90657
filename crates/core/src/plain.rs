//! The sites that findings name, in plain words.

use std::collections::BTreeMap;

use mmlens_finding::{Axis, Finding, Labels};

use crate::{Point, Site};

/// Every site that these findings name, with its name in plain words: sites that were read, names of tables (`text.embed/tokens` is
/// about `text.embed`) and labels of axes. Tables about a point of every block bear its name alone (`attn.z/heads`).
pub fn plain_names<'a>(findings: impl IntoIterator<Item = &'a Finding>) -> BTreeMap<String, String> {
    let (mut names, mut in_blocks) = (BTreeMap::new(), BTreeMap::new());
    let mut add = |text: &str| {
        if let Ok(site) = text.parse::<Site>() {
            names.insert(text.to_owned(), site.plain());
        }
    };
    for finding in findings {
        finding.provenance.sites.iter().for_each(|site| add(site));
        for table in finding.tables() {
            table.name().split('/').for_each(&mut add);
            let points = Point::ALL.iter().filter(|point| point.in_block());
            let named = points.filter(|point| table.name().split('/').any(|part| part == point.name()));
            in_blocks.extend(named.map(|point| (point.name().to_owned(), point.plain().to_owned())));
            table.axes().iter().flat_map(labels).for_each(|label| add(label));
        }
    }
    names.extend(in_blocks);
    names
}

fn labels(axis: &Axis) -> &[String] {
    match &axis.labels {
        Labels::Names(names) => names,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use mmlens_finding::{Axis, Finding, Labelled, Provenance, Role, Unit};

    use super::plain_names;

    #[test]
    fn sites_are_found_wherever_a_finding_names_them() {
        let mut made = Provenance::new("m", "toy");
        made.sites = vec!["vision.pixels".to_owned(), "no site".to_owned()];
        let axes = vec![Axis::names(Role::Concept, ["text.blocks.1.attn.z", "red"])];
        let table = Labelled::numbers("text.embed/tokens", Unit::Logit, axes, vec![0.0; 2]).unwrap();
        let heads = Labelled::scalar("attn.z/heads", Unit::Logit, 0.0);
        let names = plain_names([&Finding::new(made, vec![table, heads]).unwrap()]);
        let names: Vec<(&str, &str)> =
            names.iter().map(|(site, name)| (site.as_str(), name.as_str())).collect();
        let expected = [
            ("attn.z", "head outputs"),
            ("text.blocks.1.attn.z", "text model block 1, head outputs"),
            ("text.embed", "text model, embeddings"),
            ("vision.pixels", "image tower, pixels"),
        ];
        assert_eq!(names, expected);
    }
}
