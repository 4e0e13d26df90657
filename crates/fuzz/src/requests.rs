//! Requests of a what-if session, line by line.

use mmlens_core::{Sample, Unwatched};
use mmlens_testkit::Toy;
use mmlens_whatif::{Direction, Settings, WhatIf};

use crate::{Outcome, Room};

/// The most lines of a case that are answered.
const MOST_LINES: usize = 32;

/// Conversations of every request.
pub(crate) fn seeds(_: &Room) -> anyhow::Result<Vec<Vec<u8>>> {
    let all = [
        r#"{"do": "describe", "id": 1}
{"do": "hide", "words": [0], "word_fill": "zero"}
{"do": "difference", "top": 3}
{"do": "show", "all": true}
{"do": "undo"}"#,
        r#"{"do": "edit", "edit": "text.blocks.1.attn.z[head=0]=zero", "name": "off", "version": 1}
{"do": "steer", "direction": "ones", "site": "text.blocks.0.resid_post", "strength": -2.5}
{"do": "ask"}
{"do": "unedit", "names": ["off"]}"#,
        r#"{"do": "question", "text": "abba cede"}
{"do": "replace", "word": 1, "by": "fa"}
{"do": "aim", "aim": {"measure": "logit"}}
{"do": "map", "method": "occlusion", "settings": {"rows": 2}}
{"do": "reset"}"#,
        r#"{"do": "hide", "picture": 0, "cells": [0], "region": [0, 0, 8, 8], "picture_fill": {"blur": {"sigma": 2.0}}}"#,
    ];
    Ok(all.map(|text| text.as_bytes().to_vec()).to_vec())
}

/// Answers the lines; every reply is an object of JSON on one line, and after all of them the session still answers.
pub(crate) fn once(_: &Room, bytes: &[u8]) -> anyhow::Result<Outcome> {
    let toy = Toy::curved(1);
    let settings = Settings { max_new: 4, most_rows: 512, ..Settings::default() };
    let begun = WhatIf::begin(&toy, Sample::text("abcd efgh"), mmlens_model::METHODS, settings);
    let width = mmlens_core::Subject::anatomy(&toy).last().map_or(0, |part| part.d_model);
    let mut session =
        begun?.directions(vec![Direction { name: "ones".to_owned(), values: vec![1.0; width] }]);
    let mut refused = None;
    for line in bytes.split(|byte| *byte == b'\n').take(MOST_LINES) {
        let reply = session.answer(line, &Unwatched);
        assert!(!reply.contains('\n'), "a reply of several lines");
        let read: serde_json::Value = serde_json::from_str(&reply)?;
        if let Some(text) = read["error"]["text"].as_str() {
            assert!(
                ["field", "found", "expected"].iter().all(|name| read["error"][name].is_string()),
                "{reply}"
            );
            refused = Some(text.to_owned());
        }
    }
    let after = session.answer(br#"{"do": "reset"}"#, &Unwatched);
    assert!(after.contains(r#""done":"reset""#), "{after}");
    Ok(refused.map_or(Outcome::Accepted, Outcome::Refused))
}
