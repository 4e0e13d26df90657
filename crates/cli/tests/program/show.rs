//! `mmlens show`: findings for people and for other programs.

use std::fs;
use std::path::Path;

use mmlens::finding::{Axis, Finding, Labelled, Provenance, Role, Unit};
use serde_json::Value;

use crate::support::{Said, findings, mmlens};

fn show(finding: &Path, more: &[&str]) -> Said {
    mmlens(["show", finding.to_str().unwrap()].iter().chain(more))
}

/// A finding by hand, whose numbers are known.
fn by_hand(folder: &Path) -> std::path::PathBuf {
    let heads = vec![Axis::count(Role::Layer, 2), Axis::names(Role::Head, ["a", "b"])];
    let heads = Labelled::numbers("heads", Unit::Logit, heads, vec![1.0, -2.5, 0.25, 12.0]).unwrap();
    let words = Labelled::texts("words", vec![Axis::count(Role::Rank, 2)], vec!["red".into(), "a\nb".into()]);
    let cube = [2, 3, 4].map(|len| Axis::count(Role::Layer, len)).to_vec();
    let cube = Labelled::numbers("cube", Unit::Nat, cube, (0..24u8).map(f32::from).collect()).unwrap();
    let long = (0..50u8).map(|at| if at == 7 { -90.0 } else { f32::from(at) }).collect();
    let long = Labelled::numbers("long", Unit::Nat, vec![Axis::count(Role::Step, 50)], long).unwrap();
    let caution = vec!["the numbers are made up".to_owned()];
    let cautions = Labelled::texts("cautions", vec![Axis::count(Role::Rank, 1)], caution).unwrap();
    let mut provenance = Provenance::new("by-hand", "none").with_setting("steps", 3);
    provenance.objective = Some("logit of `red`".to_owned());
    let finding =
        Finding::new(provenance, vec![heads, words.unwrap(), cube.aside(), long, cautions]).unwrap();
    let file = folder.join("by-hand.safetensors");
    finding.save(&file).unwrap();
    file
}

#[test]
fn a_finding_says_what_it_is_and_what_it_found() {
    let folder = tempfile::tempdir().unwrap();
    let file = by_hand(folder.path());
    let version = env!("CARGO_PKG_VERSION");
    let expected = format!(
        "method     by-hand
model      none
explained  logit of `red`
setting    steps = 3
made       by mmlens {version}
caution    the numbers are made up

table     unit   axes                        values
heads     logit  layer[2] head[2]            4       the answer
words     texts  rank[2]                     2
cube      nat    layer[2] layer[3] layer[4]  24      aside
long      nat    step[50]                    50
cautions  texts  rank[1]                     1

`heads` in logit, layer x head
      a      b
0  1.00  -2.50
1  0.25  12.00
"
    );
    assert_eq!(show(&file, &[]).well(), expected);
    assert_eq!(show(&file, &["words"]).well(), "`words`, texts, rank\n0  red\n1  a\\nb\n");
}

#[test]
fn what_is_too_large_tells_its_largest_and_how_to_get_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let file = by_hand(folder.path());
    let long = show(&file, &["long"]).well();
    let lines: Vec<&str> = long.lines().collect();
    assert_eq!(lines.len(), 42, "{long}");
    assert_eq!((lines[0], lines[1], lines[2]), ("`long` in nat, step", "7   -90.00", "49   49.00"));
    let rest = format!("all of them: mmlens show {} 'long' --csv FILE", file.display());
    assert_eq!(lines[41], format!("(the 40 of 50 that are largest by their size; {rest})"));
    let cube = show(&file, &["cube"]).well();
    let lines: Vec<&str> = cube.lines().collect();
    assert_eq!((lines.len(), lines[1]), (12, "layer 1  layer 2  layer 3  23.00"));
    assert!(lines[11].starts_with("(the 10 of 24 that are largest by their size; all of them: "), "{cube}");
}

#[test]
fn a_real_finding_names_its_input_and_its_settings() {
    let folder = tempfile::tempdir().unwrap();
    let out = findings(folder.path(), "out", "ig,logit-lens", &["--set", "ig.steps=8"]);
    let said = show(&out.join("ig.safetensors"), &[]).well();
    for part in
        ["method     integrated-gradients: ", "input      “Red?”, square.png (", "setting    steps = 8"]
    {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert!(!said.contains("setting    rule"), "a default is told: {said}");
    let lens = show(&out.join("logit-lens.safetensors"), &[]).well();
    assert!(lens.contains("--csv FILE"), "{lens}");
}

#[test]
fn every_table_of_every_finding_goes_out_whole() {
    let folder = tempfile::tempdir().unwrap();
    let out = findings(folder.path(), "out", "ig,logit-lens,occlusion,rollout", &["--set", "ig.steps=8"]);
    let mut tables = 0;
    for name in ["ig", "logit-lens", "occlusion", "rollout"] {
        let file = out.join(format!("{name}.safetensors"));
        let finding = Finding::load(&file).unwrap();
        for table in finding.tables() {
            let json: Value = show(&file, &[table.name(), "--json"]).json();
            assert_eq!(json["provenance"], serde_json::to_value(&finding.provenance).unwrap());
            assert_eq!(
                (&json["table"], &json["method"]),
                (&table.name().into(), &finding.provenance.method.as_str().into())
            );
            let rows = json["rows"].as_array().unwrap();
            let csv = show(&file, &[table.name(), "--csv", "-"]).well();
            let mut csv = csv::Reader::from_reader(csv.as_bytes());
            let last = csv.headers().unwrap().len() - 1;
            let records: Vec<csv::StringRecord> = csv.records().map(Result::unwrap).collect();
            assert_eq!((rows.len(), records.len()), (table.len(), table.len()), "{}", table.name());
            for (at, (row, record)) in rows.iter().zip(&records).enumerate() {
                match table.as_numbers() {
                    Some(numbers) => {
                        assert_eq!(record[last].parse::<f32>().unwrap().to_bits(), numbers[at].to_bits());
                        assert_eq!((row["value"].as_f64().unwrap() as f32).to_bits(), numbers[at].to_bits());
                    }
                    None => {
                        assert_eq!(record[last], table.as_texts().unwrap()[at]);
                        assert_eq!(row["text"].as_str().unwrap(), table.as_texts().unwrap()[at]);
                    }
                }
            }
            tables += 1;
        }
    }
    assert!(tables > 8, "{tables}");
}

#[test]
fn files_are_written_and_described() {
    let folder = tempfile::tempdir().unwrap();
    let file = by_hand(folder.path());
    let (csv, parquet) = (folder.path().join("heads.csv"), folder.path().join("heads.parquet"));
    let said = show(&file, &["heads", "--csv", csv.to_str().unwrap()]).well();
    assert_eq!(said, format!("{}  4 rows of `heads`\n", csv.display()));
    assert_eq!(
        fs::read_to_string(&csv).unwrap(),
        "layer,layer_index,head,head_index,value\n0,0,a,0,1.0\n0,0,b,1,-2.5\n1,1,a,0,0.25\n1,1,b,1,12.0\n"
    );
    // Without a name it is the answer.
    show(&file, &["--parquet", parquet.to_str().unwrap()]).well();
    let bytes = fs::read(&parquet).unwrap();
    assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"));
    let said = show(&file, &["--json"]).json();
    assert_eq!(
        (&said["method"], &said["cautions"][0]["text"]),
        (&"by-hand".into(), &"the numbers are made up".into())
    );
    let tables = said["tables"].as_array().unwrap();
    assert_eq!(
        tables[0],
        serde_json::json!({"table": "heads", "unit": "logit", "axes": [{"axis": "layer", "length": 2}, {"axis": "head", "length": 2}],
            "values": 4, "holds": "numbers", "answer": true, "aside": false})
    );
    assert_eq!((&tables[1]["holds"], &tables[2]["aside"]), (&"texts".into(), &true.into()));
    assert_eq!(said["provenance"]["settings"]["steps"], 3);
}

#[test]
fn what_cannot_be_shown_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = by_hand(folder.path());
    let name = file.display();
    assert_eq!(
        show(&file, &["head"]).refused(),
        format!(
            "{name}: finding `by-hand` has no table `head`; it has [\"heads\", \"words\", \"cube\", \"long\", \"cautions\"]"
        )
    );
    // Not over what is read.
    let said = show(&file, &["heads", "--csv", file.to_str().unwrap()]).refused();
    assert_eq!(said, format!("cannot write {name}: it is {name}, which is read here"));
    let gone = folder.path().join("gone.safetensors");
    let said = show(&gone, &[]).refused();
    assert!(said.starts_with(&format!("cannot read finding {}: ", gone.display())), "{said}");
    // An answer of several tables is no table.
    let half = |at: usize| Labelled::scalar(format!("drop/{at}"), Unit::Logit, 1.0);
    let several = folder.path().join("several.safetensors");
    Finding::new(Provenance::new("by-hand", "none"), vec![half(0), half(1)]).unwrap().save(&several).unwrap();
    let said = show(&several, &["--csv", "-"]).refused();
    let expected = "the answer is 2 tables, and one is written: name it; drop/0, drop/1";
    assert_eq!(said, format!("{}: {expected}", several.display()));
    assert_eq!(show(&file, &["--csv", "-", "--json"]).code, Some(2), "one form at a time");
}

/// Every number in the words is one of the finding's, or a share of them.
#[test]
fn a_finding_is_told_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let file = by_hand(folder.path());
    // 12 + 2.5 + 1 + 0.25 = 15.75
    let heads = "In `heads` (logit) the largest is at layer 1, `b` (12.0, 76 % of the sum of all sizes), then at layer 0, `b` (-2.50, 16 %) and \
                 layer 0, `a` (1.00, 6 %).\n";
    let expected =
        format!("By-hand explains the logit of `red` of `none`.\n{heads}But the numbers are made up.\n");
    assert_eq!(show(&file, &["--words"]).well(), expected);
    assert_eq!(show(&file, &["heads", "--words"]).well(), heads);
    assert_eq!(show(&file, &["words", "--words"]).well(), "`words` holds “red”, “a\\nb”.\n");
    assert_eq!(show(&file, &["--words", "--json"]).code, Some(2));
}
