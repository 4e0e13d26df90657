//! The published schema accepts what is written and names every role and unit there is.
#![cfg(test)]

use mmlens_finding::{
    Axis, FORMAT, Finding, Labelled, Modality, PatchLabel, Provenance, Role, SoundScale, TokenLabel, Unit,
};
use safetensors::SafeTensors;
use serde_json::Value;

fn schema() -> Value {
    serde_json::from_str(include_str!("../docs/finding.schema.json")).unwrap()
}

/// The part of JSON Schema that the published one uses. The first complaint, with where it is.
fn check(root: &Value, schema: &Value, value: &Value, place: &str) -> Result<(), String> {
    if let Some(name) = schema["$ref"].as_str() {
        return check(root, root.pointer(name.trim_start_matches('#')).unwrap(), value, place);
    }
    let fail = |what: &str| Err(format!("{place}: {value} {what}"));
    if let Some(choices) = schema["oneOf"].as_array() {
        let fits = choices.iter().filter(|choice| check(root, choice, value, place).is_ok()).count();
        return if fits == 1 { Ok(()) } else { fail(&format!("fits {fits} of the choices")) };
    }
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        return fail("is not one of the choices");
    }
    let kinds = match &schema["type"] {
        Value::Array(kinds) => kinds.clone(),
        Value::Null => vec![],
        kind => vec![kind.clone()],
    };
    let is = |kind: &Value| match kind.as_str() {
        Some("null") => value.is_null(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_u64(),
        Some("number") => value.is_number(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        other => panic!("{place}: the schema asks for {other:?}, which this test does not know"),
    };
    if !kinds.is_empty() && !kinds.iter().any(is) {
        return fail("is of another type");
    }
    for (i, item) in value.as_array().into_iter().flatten().enumerate() {
        check(root, &schema["items"], item, &format!("{place}/{i}"))?;
    }
    let count = value.as_array().map_or(0, Vec::len) as u64;
    if value.is_array()
        && (schema["minItems"].as_u64().is_some_and(|min| count < min)
            || schema["maxItems"].as_u64().is_some_and(|max| count > max))
    {
        return fail("has another length");
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        if value.is_object() && value.get(name.as_str().unwrap()).is_none() {
            return fail(&format!("lacks {name}"));
        }
    }
    for (name, inner) in value.as_object().into_iter().flatten() {
        match schema["properties"].get(name) {
            Some(property) => check(root, property, inner, &format!("{place}/{name}"))?,
            None if schema["additionalProperties"] == Value::Bool(false) => {
                return fail(&format!("has `{name}`"));
            }
            None => {}
        }
    }
    Ok(())
}

fn description(finding: &Finding) -> Value {
    let bytes = finding.to_bytes().unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    serde_json::from_str(&header.metadata().as_ref().unwrap()[FORMAT]).unwrap()
}

fn sample() -> Finding {
    let patch = PatchLabel { image: 0, tile: 1, frame: 0, row: 2, col: 3, bbox: [0.0, 0.5, 14.0, 14.0] };
    let tokens = vec![
        TokenLabel::new("▁red", Modality::Text).with_id(3).with_bytes(0, 3),
        TokenLabel::new("<image>", Modality::Image).with_patch(patch),
    ];
    let axes = vec![
        Axis::tokens(tokens),
        Axis::patches(vec![patch]),
        Axis::spans(Role::Row, 0, vec![[0.0, 4.0]]),
        Axis::heard(
            Role::Column,
            1,
            vec![[0.0, 4.0]],
            &SoundScale { step: 0.01, window: 0.025, hertz: vec![8.0, 4.0, 0.0] },
        ),
        Axis::names(Role::Concept, ["red"]),
        Axis::count(Role::Layer, 1),
    ];
    let numbers = Labelled::numbers("n", Unit::Logit, axes.clone(), vec![0.0; 2]).unwrap();
    let texts = Labelled::texts("t", axes, vec![String::new(); 2]).unwrap();
    let provenance = Provenance::new("m", "s").with_setting("steps", 64);
    Finding::new(provenance, vec![numbers, texts]).unwrap()
}

#[test]
fn what_is_written_fits_the_schema() {
    check(&schema(), &schema(), &description(&sample()), "").unwrap();
}

#[test]
fn the_check_can_fail() {
    for (place, wrong) in [
        ("/version", "[1]"),
        ("/tables/0/unit", "\"furlong\""),
        ("/tables/0/axes/0/labels", "{}"),
        ("/tables/0/axes/0/labels/tokens/0/text", "3"),
        ("/provenance", "{}"),
    ] {
        let mut value = description(&sample());
        *value.pointer_mut(place).unwrap() = serde_json::from_str(wrong).unwrap();
        check(&schema(), &schema(), &value, "").expect_err(place);
    }
}

#[test]
fn every_name_in_the_schema_is_a_role_or_unit_of_the_code() {
    let names = |pointer: &str| schema().pointer(pointer).unwrap().as_array().unwrap().clone();
    let roles = names("/$defs/axis/properties/role/enum");
    for name in &roles {
        let role: Role = serde_json::from_value(name.clone()).unwrap();
        assert_eq!(Value::from(role.name()), *name);
    }
    let units = names("/$defs/table/properties/unit/enum");
    for name in &units {
        let unit: Unit = serde_json::from_value(name.clone()).unwrap();
        assert_eq!(serde_json::to_value(unit).unwrap(), *name);
    }
    // the last variants of both enums, so that one added at the end is missed by neither
    assert_eq!((roles.len(), units.len()), (Role::Metric as usize + 1, Unit::None as usize + 1));
}
