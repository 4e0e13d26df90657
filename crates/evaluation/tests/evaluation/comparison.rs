//! Maps side by side: against SciPy, against identities, against misuse.

use mmlens_core::finding::{
    Axis, CautionKind, Finding, InputRecord, Labelled, PictureRecord, Provenance, Role, SampleRecord, Source,
    Tolerance, Unit,
};
use mmlens_evaluation::comparison::{Shown, TABLES, has_map};
use mmlens_evaluation::{ComparisonSettings, Sign, compare};
use mmlens_testkit::Oracle;
use proptest::prelude::*;

/// Values of f32 that are made of sums in f64.
const ROUNDING: Tolerance = Tolerance::either(2e-7, 2e-7);

/// A map of cells over a picture of some size.
fn map(values: &[f64], [rows, cols]: [usize; 2], [width, height]: [u32; 2], hash: &str) -> Finding {
    let spans = |role, cells: usize, length: u32| {
        let edge = |at: usize| (at as f64 * f64::from(length) / cells as f64) as f32;
        Axis::spans(role, 0, (0..cells).map(|at| [edge(at), edge(at + 1)]).collect())
    };
    let axes = vec![spans(Role::Row, rows, height), spans(Role::Column, cols, width)];
    let values = values.iter().map(|value| *value as f32).collect();
    let table = Labelled::numbers("picture", Unit::Logit, axes, values).unwrap();
    let picture = PictureRecord {
        name: "drawn".to_owned(),
        source: Source::Memory,
        size: [width, height],
        sha256: hash.to_owned(),
    };
    let sample = SampleRecord { pictures: vec![picture], ..SampleRecord::default() };
    let input = Some(InputRecord { sample, ..InputRecord::default() });
    Finding::new(Provenance { input, ..Provenance::new("drawn", "none") }, vec![table]).unwrap()
}

fn compared(findings: &[Finding], settings: ComparisonSettings) -> Finding {
    let names: Vec<String> = (0..findings.len()).map(|at| format!("map {at}")).collect();
    let shown: Vec<Shown<'_>> =
        names.iter().zip(findings).map(|(name, finding)| Shown { name, finding }).collect();
    compare(&shown, &settings).unwrap()
}

fn at(found: &Finding, table: &str, place: [usize; 2]) -> f32 {
    found.table(table).unwrap().get(&place).unwrap()
}

#[test]
fn maps_agree_as_scipy_says() {
    let oracle = Oracle::open("evaluation/comparison").unwrap();
    let number = |key: &str| oracle.about()[key].as_u64().unwrap() as usize;
    let size = [0, 1].map(|side| oracle.about()["size"][side].as_u64().unwrap() as u32);
    let findings: Vec<Finding> = (0..3)
        .map(|i| {
            let own = oracle.array(&format!("map/{i}")).unwrap();
            map(&own.values, [own.dims[0], own.dims[1]], size, "one")
        })
        .collect();
    for (name, sign) in [("signed", Sign::Signed), ("absolute", Sign::Absolute)] {
        let top = oracle.about()["top"].as_f64().unwrap();
        let settings = ComparisonSettings { rows: number("rows"), cols: number("cols"), sign, top };
        let found = compared(&findings, settings);
        for i in 0..3 {
            let wanted = &oracle.array(&format!("{name}/grid/{i}")).unwrap().values;
            let own = found.table(&format!("map {i}")).unwrap();
            println!("{name} {i}: {:?}", ROUNDING.check("grid", own.as_numbers().unwrap(), wanted).unwrap());
            for j in i + 1..3 {
                let wanted = &oracle.array(&format!("{name}/{i}-{j}")).unwrap().values;
                for place in [[i, j], [j, i]] {
                    let own: Vec<f32> = TABLES.iter().map(|table| at(&found, table, place)).collect();
                    ROUNDING.check(&format!("{name} {i} {j}"), &own, wanted).unwrap();
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// A map and itself are wholly alike, and so is one that is scaled; how they stand does not matter; of the shifts of a shift one is the map.
    #[test]
    fn a_map_is_like_itself(values in proptest::collection::vec(-3.0_f64..3.0, 24), scale in 0.1_f64..9.0, down in 0..4_usize, across in 1..6_usize) {
        let size = [12, 8];
        let own = map(&values, [4, 6], size, "one");
        let scaled = map(&values.iter().map(|value| value * scale).collect::<Vec<_>>(), [4, 6], size, "one");
        let moved: Vec<f64> =
            (0..24).map(|i| values[(i / 6 + down) % 4 * 6 + (i % 6 + across) % 6]).collect();
        let moved = map(&moved, [4, 6], size, "one");
        let settings = ComparisonSettings { rows: 4, cols: 6, sign: Sign::Signed, top: 0.2 };
        let found = compared(&[own, scaled, moved], settings);
        for place in [[0, 0], [0, 1], [1, 0]] {
            for table in &TABLES[..3] {
                prop_assert!((at(&found, table, place) - 1.0).abs() < 1e-6, "{} {:?}", table, place);
            }
            prop_assert_eq!(at(&found, TABLES[6], place), 0.0);
        }
        // One of 23 shifts brings the map back.
        prop_assert!(at(&found, TABLES[6], [0, 2]) >= 1.0 / 23.0 - 1e-6);
        for table in TABLES {
            prop_assert_eq!(at(&found, table, [0, 2]).to_bits(), at(&found, table, [2, 0]).to_bits());
        }
    }
}

#[test]
fn what_is_alike_by_chance_is_spoken_of() {
    let values =
        |seed: u64| -> Vec<f64> { (0..64).map(|i| mmlens_core::Seed(seed).at(i).normal()).collect() };
    let size = [16, 16];
    let own = map(&values(1), [8, 8], size, "one");
    let (other, zero) = (map(&values(2), [8, 8], size, "one"), map(&[0.0; 64], [8, 8], size, "one"));
    let settings = ComparisonSettings { rows: 8, cols: 8, ..ComparisonSettings::default() };
    let shown = |named: &[(&'static str, &'static str)], all: &[&Finding]| {
        let answered = |((_, answer), finding): (&(&str, &str), &&Finding)| {
            let mut finding = Finding::clone(finding);
            finding.provenance.answer = Some((*answer).to_owned());
            finding
        };
        let findings: Vec<Finding> = named.iter().zip(all).map(answered).collect();
        let shown = named.iter().zip(&findings).map(|((name, _), finding)| Shown { name, finding });
        let found = compare(&shown.collect::<Vec<_>>(), &settings).unwrap();
        found.cautions().iter().map(|caution| caution.kind).collect::<Vec<_>>()
    };
    assert_eq!(shown(&[("a", "red"), ("b", "red")], &[&own, &own]), []);
    assert_eq!(shown(&[("a", "red"), ("b", "blue")], &[&own, &own]), [CautionKind::Other]);
    // Neither their ranks nor their mass.
    assert_eq!(shown(&[("a", "red"), ("b", "red")], &[&own, &other]), [CautionKind::Chance; 2]);
    assert_eq!(shown(&[("a", "red"), ("b", "red")], &[&own, &zero]), [CautionKind::NothingMoved]);
    let found = compared(&[own, zero], settings);
    assert!(at(&found, TABLES[0], [0, 1]).is_nan() && at(&found, TABLES[2], [1, 1]).is_nan());
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let own = map(&[1.0; 4], [2, 2], [8, 8], "0123456789");
    let other = map(&[1.0; 4], [2, 2], [8, 8], "9876543210");
    let shown = |name: &'static str, finding| Shown { name, finding };
    let said =
        |maps: &[Shown<'_>], settings: ComparisonSettings| compare(maps, &settings).unwrap_err().to_string();
    let base = ComparisonSettings::default();
    assert_eq!(said(&[shown("a", &own)], base), "1 maps to compare, where there must be two or more");
    assert_eq!(said(&[shown("a", &own), shown("a", &own)], base), "two maps are called `a`");
    let pictures = said(&[shown("a", &own), shown("b", &other)], base);
    assert_eq!(pictures, "`b` is about `drawn` (98765432), and `a` about `drawn` (01234567)");
    let scalar = Labelled::scalar("objective", Unit::Logit, 1.0);
    let none = Finding::new(own.provenance.clone(), vec![scalar]).unwrap();
    assert!(!has_map(&none) && has_map(&own));
    let map = said(&[shown("a", &own), shown("b", &none)], base);
    assert!(map.starts_with("`b`: no table of `drawn` lies on a picture"), "{map}");
    for (settings, wanted) in [
        (ComparisonSettings { rows: 0, ..base }, "rows = 0: there are from 1 to 64 cells on a side"),
        (ComparisonSettings { cols: 65, ..base }, "cols = 65: there are from 1 to 64 cells on a side"),
        (ComparisonSettings { top: f64::NAN, ..base }, "top = NaN: it is a share between 0 and 1"),
    ] {
        assert_eq!(said(&[shown("a", &own), shown("b", &own)], settings), wanted);
    }
    let named = compare(&[shown("top overlap", &own), shown("b", &own)], &base).unwrap_err().to_string();
    assert!(named.contains("two tables named `top overlap`"), "{named}");
}
