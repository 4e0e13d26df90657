//! Which crate may use which: arrows point down, and the manifests are held to it.

use serde_json::Value;

/// Every crate there is or will be, and its level. A crate uses only crates of lower levels.
const LEVELS: &[(&str, u8)] = &[
    ("mmlens-files", 0),
    ("mmlens-finding", 1),
    ("mmlens-sound", 1),
    ("mmlens-core", 2),
    ("mmlens-kernels", 2),
    ("mmlens-engine", 3),
    ("mmlens-store", 3),
    ("mmlens-zoo", 3),
    ("mmlens-data", 4),
    ("mmlens-design", 4),
    ("mmlens-evaluation", 4),
    ("mmlens-model", 4),
    ("mmlens-training", 4),
    ("mmlens-inference", 4),
    ("mmlens-report", 4),
    ("mmlens-whatif", 4),
    ("mmlens", 5),
    ("mmlens-cli", 6),
];

/// Never published, and used by nothing but tests.
const TOOLS: &[&str] = &["mmlens-testkit", "mmlens-fuzz", "xtask"];

/// Arrows that point down and are refused all the same.
const REFUSED: &[(&str, &str, &str)] = &[
    ("mmlens-report", "mmlens-core", "it draws findings and knows no method"),
    ("mmlens-report", "mmlens-kernels", "it draws findings and knows no method"),
    ("mmlens-report", "mmlens-engine", "it draws findings and knows no method"),
    ("mmlens-report", "mmlens-store", "it draws findings and knows no store"),
    ("mmlens-report", "mmlens-zoo", "it draws findings and knows no model"),
    ("mmlens-data", "mmlens-zoo", "samples are made for any model"),
];

/// A finding opens without a tensor library, and is drawn without one.
const WITHOUT_BURN: &[&str] = &["mmlens-files", "mmlens-finding", "mmlens-report", "mmlens-sound"];

/// A member of the workspace, and what it uses outside its tests.
struct Package {
    name: String,
    published: bool,
    uses: Vec<String>,
}

/// What is wrong with the arrows of a workspace, one line each. `metadata` is what `cargo metadata --no-deps` prints.
pub(crate) fn faults(metadata: &Value) -> Result<Vec<String>, String> {
    let packages = read(metadata)?;
    Ok(packages.iter().flat_map(|package| package.faults(&packages)).collect())
}

/// How many packages and arrows between them there are.
pub(crate) fn count(metadata: &Value) -> Result<(usize, usize), String> {
    let packages = read(metadata)?;
    let inside = |name: &&String| packages.iter().any(|package| package.name == **name);
    Ok((packages.len(), packages.iter().flat_map(|package| &package.uses).filter(inside).count()))
}

impl Package {
    fn faults(&self, all: &[Self]) -> Vec<String> {
        let name = &self.name;
        if TOOLS.contains(&name.as_str()) {
            let fault = format!("{name} is a tool of this workspace: its manifest needs `publish = false`");
            return self.published.then_some(fault).into_iter().collect();
        }
        let Some(level) = level(name) else {
            return vec![format!("{name} has no level: give it one in xtask/src/arrows.rs")];
        };
        let inside = |used: &str| all.iter().any(|package| package.name == used);
        let uses = self.uses.iter().filter_map(|used| {
            let used = used.as_str();
            if WITHOUT_BURN.contains(&name.as_str()) && used.starts_with("burn") {
                return Some(format!("{name} uses {used}: it must stay free of Burn"));
            }
            if !inside(used) {
                return None;
            }
            if TOOLS.contains(&used) {
                return Some(format!("{name} uses {used}: tools are for tests, so a dev-dependency at most"));
            }
            if let Some((_, _, why)) = REFUSED.iter().find(|(from, to, _)| from == name && *to == used) {
                return Some(format!("{name} uses {used}: {why}"));
            }
            let below = self::level(used)?;
            let fault = match below.cmp(&level) {
                std::cmp::Ordering::Less => return None,
                std::cmp::Ordering::Equal => {
                    format!("both are of level {level}; what both need sinks to a lower one")
                }
                std::cmp::Ordering::Greater => format!("level {level} may not use level {below}"),
            };
            Some(format!("{name} uses {used}: {fault}"))
        });
        uses.collect()
    }
}

fn level(name: &str) -> Option<u8> {
    LEVELS.iter().find(|(known, _)| *known == name).map(|(_, level)| *level)
}

/// The members. Dev-dependencies are left out; build dependencies count like others.
fn read(metadata: &Value) -> Result<Vec<Package>, String> {
    let packages =
        metadata.get("packages").and_then(Value::as_array).ok_or("no `packages` in the metadata")?;
    packages
        .iter()
        .map(|package| read_package(package).ok_or_else(|| format!("not a package: {package}")))
        .collect()
}

fn read_package(package: &Value) -> Option<Package> {
    let name = package.get("name")?.as_str()?.to_owned();
    let published = package.get("publish").and_then(Value::as_array).is_none_or(|places| !places.is_empty());
    let mut uses = Vec::new();
    for dependency in package.get("dependencies")?.as_array()? {
        if dependency.get("kind").and_then(Value::as_str) != Some("dev") {
            uses.push(dependency.get("name")?.as_str()?.to_owned());
        }
    }
    Some(Package { name, published, uses })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A crate that is used, and the kind of dependency.
    type Use<'a> = (&'a str, Option<&'a str>);

    /// Packages and what they use, as `cargo metadata` writes them.
    fn workspace(packages: &[(&str, &[Use<'_>])]) -> Value {
        let packages: Vec<Value> = packages
            .iter()
            .map(|(name, uses)| {
                let uses: Vec<Value> =
                    uses.iter().map(|(name, kind)| json!({ "name": name, "kind": kind })).collect();
                let publish = if TOOLS.contains(name) { json!([]) } else { Value::Null };
                json!({ "name": name, "publish": publish, "dependencies": uses })
            })
            .collect();
        json!({ "packages": packages })
    }

    /// The faults of a workspace in which `name` uses `used` in one way, among all crates there can be.
    fn arrow(name: &str, used: &str, kind: Option<&str>) -> Vec<String> {
        let uses = [(used, kind)];
        let names = LEVELS.iter().map(|(known, _)| *known).chain(TOOLS.iter().copied());
        let packages: Vec<(&str, &[Use<'_>])> =
            names.map(|known| (known, if known == name { uses.as_slice() } else { &[] })).collect();
        faults(&workspace(&packages)).unwrap()
    }

    #[test]
    fn arrows_that_point_down_pass() {
        let core: &[Use<'_>] = &[("mmlens-finding", None), ("burn", None), ("proptest", Some("dev"))];
        let all = workspace(&[
            ("mmlens-finding", &[("serde", None)]),
            ("mmlens-core", core),
            ("mmlens-report", &[("mmlens-finding", None), ("image", None)]),
            ("mmlens", &[("mmlens-core", None), ("mmlens-report", None), ("mmlens-testkit", Some("dev"))]),
            ("mmlens-testkit", &[("mmlens-core", None)]),
            ("xtask", &[("serde_json", None)]),
        ]);
        assert_eq!(faults(&all).unwrap(), Vec::<String>::new());
        // finding from core, report, and twice from mmlens: core and report; testkit's own is core; 1 + 1 + 2 + 1
        assert_eq!(count(&all).unwrap(), (6, 5));
    }

    #[test]
    fn arrows_that_point_up_are_named() {
        assert_eq!(
            arrow("mmlens-core", "mmlens-engine", None),
            ["mmlens-core uses mmlens-engine: level 2 may not use level 3"]
        );
        assert_eq!(
            arrow("mmlens-zoo", "mmlens", None),
            ["mmlens-zoo uses mmlens: level 3 may not use level 5"]
        );
    }

    #[test]
    fn crates_of_one_level_do_not_meet() {
        let said =
            ["mmlens-engine uses mmlens-zoo: both are of level 3; what both need sinks to a lower one"];
        assert_eq!(arrow("mmlens-engine", "mmlens-zoo", None), said);
        assert_eq!(arrow("mmlens-model", "mmlens-data", None).len(), 1);
        assert_eq!(arrow("mmlens-core", "mmlens-kernels", None).len(), 1);
    }

    #[test]
    fn every_pair_follows_the_levels() {
        for (name, level) in LEVELS {
            for (used, below) in LEVELS.iter().filter(|(used, _)| used != name) {
                let refused = REFUSED.iter().any(|(from, to, _)| from == name && to == used);
                assert_eq!(arrow(name, used, None).is_empty(), below < level && !refused, "{name} -> {used}");
            }
        }
    }

    #[test]
    fn report_uses_findings_alone_and_data_no_zoo() {
        for (name, level) in LEVELS.iter().filter(|(name, _)| *name != "mmlens-report") {
            assert_eq!(arrow("mmlens-report", name, None).is_empty(), *level <= 1, "report -> {name}");
        }
        assert_eq!(
            arrow("mmlens-data", "mmlens-zoo", None),
            ["mmlens-data uses mmlens-zoo: samples are made for any model"]
        );
        assert!(arrow("mmlens-data", "mmlens-engine", None).is_empty());
    }

    #[test]
    fn tests_may_use_anything_and_build_scripts_may_not() {
        assert!(arrow("mmlens-core", "mmlens-zoo", Some("dev")).is_empty());
        assert!(arrow("mmlens-model", "mmlens-testkit", Some("dev")).is_empty());
        assert_eq!(arrow("mmlens-core", "mmlens-zoo", Some("build")).len(), 1);
    }

    #[test]
    fn tools_are_for_tests_and_stay_here() {
        let said = ["mmlens-model uses mmlens-testkit: tools are for tests, so a dev-dependency at most"];
        assert_eq!(arrow("mmlens-model", "mmlens-testkit", None), said);
        let loose = json!({ "packages": [{ "name": "xtask", "publish": null, "dependencies": [] }] });
        assert_eq!(
            faults(&loose).unwrap(),
            ["xtask is a tool of this workspace: its manifest needs `publish = false`"]
        );
    }

    #[test]
    fn findings_are_free_of_burn() {
        assert_eq!(
            arrow("mmlens-finding", "burn", None),
            ["mmlens-finding uses burn: it must stay free of Burn"]
        );
        assert_eq!(arrow("mmlens-report", "burn-tensor", None).len(), 1);
        assert!(arrow("mmlens-core", "burn", None).is_empty());
    }

    #[test]
    fn a_crate_without_a_level_is_an_error() {
        let all = workspace(&[("mmlens-audio", &[])]);
        assert_eq!(faults(&all).unwrap(), ["mmlens-audio has no level: give it one in xtask/src/arrows.rs"]);
    }

    #[test]
    fn what_is_no_metadata_is_an_error() {
        assert_eq!(faults(&json!({})).unwrap_err(), "no `packages` in the metadata");
        assert_eq!(
            faults(&json!({ "packages": [{ "name": 3 }] })).unwrap_err(),
            r#"not a package: {"name":3}"#
        );
    }
}
