//! On a phone nothing reaches beyond the screen, no labels touch, and a large page opens quickly.

use serde_json::{Value, json};

use crate::large;
use crate::seen::{html, probe, probe_with};

pub(crate) fn nothing_reaches_beyond_a_narrow_screen() {
    let script = "
        const root = document.documentElement;
        const measure = () => ({
            inner: innerWidth, client: root.clientWidth, scroll: root.scrollWidth,
            out: [...document.querySelectorAll('main *')].filter((node) => {
                if (node.closest('.scroll, svg') && !node.matches('.scroll')) return false;
                return node.getBoundingClientRect().right > root.clientWidth + 1;
            }).map((node) => node.tagName + '.' + node.className),
        });
        const before = measure();
        document.querySelectorAll('button').forEach((button) => button.click());
        document.querySelectorAll('details').forEach((details) => { details.open = true; });
        document.querySelectorAll('input[type=radio]').forEach((radio) => radio.click());
        document.querySelectorAll('input[type=range]').forEach((range) => {
            range.value = range.max;
            range.dispatchEvent(new Event('input'));
        });
        return { before, after: measure(), unfolded: document.querySelectorAll('.lens thead th').length };";
    for (side, width) in [(24, 320), (24, 360), (2, 360), (24, 1200)] {
        let said = probe(&html(side), width, script);
        for state in ["before", "after"] {
            let state = &said[state];
            assert_eq!(state["inner"], width, "the browser has the width asked for");
            assert_eq!(state["out"], Value::Array(vec![]), "{side} at {width}");
            assert!(state["scroll"].as_u64() <= state["client"].as_u64(), "{side} at {width}: {state}");
        }
        // a corner, 16 positions of text and all of the picture
        let positions = said["unfolded"].as_u64().unwrap();
        assert_eq!(positions, 1 + 16 + (side * side) as u64, "{side} at {width}");
    }
}

/// Writes down every text that is drawn on a canvas, as the four corners of its box.
const DRAWN_TEXTS: &str = "
    window.drawn = new Map();
    const before = HTMLCanvasElement.prototype.getContext;
    const fill = CanvasRenderingContext2D.prototype.fillText;
    CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {
        const { width } = this.measureText(text);
        const left = x - ({ center: width / 2, right: width }[this.textAlign] || 0);
        const [m, ratio] = [this.getTransform(), this.canvas.width / (parseFloat(this.canvas.style.width) || 1)];
        const corner = (dx, dy) => [(m.a * dx + m.c * dy + m.e) / ratio, (m.b * dx + m.d * dy + m.f) / ratio];
        // the letters of a line of 11 pixels
        const box = [[left, y - 5], [left + width, y - 5], [left + width, y + 5], [left, y + 5]].map(([dx, dy]) => corner(dx, dy));
        if (!window.drawn.has(this.canvas)) window.drawn.set(this.canvas, []);
        window.drawn.get(this.canvas).push({ text, box });
        return fill.call(this, text, x, y);
    };
    const size = Object.getOwnPropertyDescriptor(HTMLCanvasElement.prototype, 'width');
    Object.defineProperty(HTMLCanvasElement.prototype, 'width', {
        get: size.get,
        set(value) { window.drawn.delete(this); size.set.call(this, value); },
    });";

/// 2000 patches, 300 answer tokens told one by one, 24 layers of 14 heads.
pub(crate) fn a_large_page_opens_quickly_on_a_phone() {
    let html = large::page().unwrap().html().unwrap();
    assert!(html.len() < 10_000_000, "{} bytes", html.len());
    assert!(html.len() > 6_000_000, "{} bytes: the numbers are there", html.len());
    let script = "
        const opened = performance.now();
        const root = document.documentElement;
        // whether two convex shapes share more than an edge: no side of either keeps them apart
        const meet = (a, b) => ![a, b].some((shape) => shape.some((from, i) => {
            const to = shape[(i + 1) % shape.length];
            const [nx, ny] = [to[1] - from[1], from[0] - to[0]];
            const along = (points) => points.map(([x, y]) => x * nx + y * ny);
            const [one, two] = [along(a), along(b)];
            const slack = 0.5 * Math.hypot(nx, ny);
            return Math.max(...one) <= Math.min(...two) + slack || Math.max(...two) <= Math.min(...one) + slack;
        }));
        const clashes = [];
        let labels = 0;
        const apart = (where, list) => list.forEach((a, i) => {
            labels += 1;
            for (const b of list.slice(i + 1)) if (meet(a.box, b.box)) clashes.push([where, a.text, b.text]);
        });
        const corners = ({ left, right, top, bottom }) => [[left, top], [right, top], [right, bottom], [left, bottom]];
        const look = (state) => {
            const rects = (nodes) => [...nodes].filter((node) => node.getClientRects().length && node.textContent).map((node) => ({ text: node.textContent, box: corners(node.getBoundingClientRect()) }));
            for (const [canvas, list] of window.drawn) apart(state + ' map ' + canvas.className, list);
            for (const svg of document.querySelectorAll('svg.curve')) apart(state + ' curve', rects(svg.querySelectorAll('text')));
            for (const legend of document.querySelectorAll('.legend')) apart(state + ' legend', rects(legend.querySelectorAll('.ends span, .note')));
            for (const slider of document.querySelectorAll('.slider')) apart(state + ' slider', rects(slider.querySelectorAll('label, output')));
            apart(state + ' answer', rects(document.querySelectorAll('.answer-tokens button')));
            apart(state + ' sight', rects(document.querySelectorAll('#answer > .name, #answer > .said, #answer button')));
            const cells = [...document.querySelectorAll('td.n, .scalars dd, .answer-tokens small, .heads small')].filter((node) => {
                const range = document.createRange();
                range.selectNodeContents(node);
                const [text, box] = [range.getBoundingClientRect(), (node.closest('button') || node).getBoundingClientRect()];
                return text.width > 0 && (text.left < box.left - 0.5 || text.right > box.right + 0.5 || text.top < box.top - 0.5 || text.bottom > box.bottom + 0.5);
            }).map((node) => [state, node.className, node.textContent]);
            const out = [...document.querySelectorAll('main *')].filter((node) => {
                if (node.closest('.scroll, svg') && !node.matches('.scroll')) return false;
                return node.getBoundingClientRect().right > root.clientWidth + 1;
            }).map((node) => [state, node.tagName, node.className]);
            return { cells, out, scroll: root.scrollWidth - root.clientWidth };
        };
        const first = look('opened');
        document.querySelector('[data-answer=\"7\"]').click();
        const token = look('token');
        [...document.querySelectorAll('#overlay input[type=radio]')].forEach((radio, i) => i === 3 && radio.click());
        const press = performance.now();
        document.querySelectorAll('button').forEach((button) => /^Show all/.test(button.textContent) && button.click());
        const unfolded = look('unfolded');
        return { opened, first, token, unfolded, clashes: clashes.slice(0, 10), labels, count: clashes.length,
            failed: document.querySelectorAll('.failed').length, inner: innerWidth, heads: document.querySelectorAll('.heads button').length };";
    let said = probe_with(&html, 390, DRAWN_TEXTS, script, &["--timeout=60000"]);
    assert_eq!((&said["inner"], &said["failed"]), (&390.into(), &0.into()));
    for state in ["first", "token", "unfolded"] {
        assert_eq!(said[state], json!({ "cells": [], "out": [], "scroll": 0 }), "{state}");
    }
    assert!(said["labels"].as_u64().unwrap() > 1000, "{said}");
    assert_eq!(said["clashes"], json!([]), "{} of {}", said["count"], said["labels"]);
    assert_eq!(said["heads"], 14);
    // the best of three: a machine that does other work, too, is slow now and then
    let again =
        || probe_with(&html, 390, "", "return performance.now();", &["--timeout=60000"]).as_f64().unwrap();
    let first = said["opened"].as_f64().unwrap();
    let opened = if first < 2000.0 { first } else { again().min(again()) };
    assert!(opened > 0.0 && opened < 2000.0, "{opened} ms until everything was drawn");
}
