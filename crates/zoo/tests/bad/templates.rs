//! Templates that do not end, ask for all memory, recurse without end, or make the engine panic.

use mmlens_zoo::text::{ChatOptions, ChatTemplate, Message, SpecialTokens};

use super::{alone, within};

/// 64 MiB of text at most, twice where it is copied, the lists beside it.
const MOST: f32 = 300.0;

fn render(source: &str) -> Result<String, String> {
    let source = source.to_owned();
    within(&source.chars().take(60).collect::<String>(), MOST, move || {
        let template = ChatTemplate::new("chat.jinja", &source, SpecialTokens::default());
        let rendered = template.and_then(|t| t.render(&[Message::user(1, "Hi")], &ChatOptions::ask()));
        rendered.map_err(|error| error.to_string())
    })
}

fn refused(source: &str, said: &str) {
    let error = render(source).expect_err(source);
    assert!(
        error.starts_with("chat.jinja:") && error.contains(said),
        "{error}\nshould say: {said}\n{source}"
    );
    assert!(error.len() < 1000, "{} bytes", error.len());
}

#[test]
fn what_does_not_end_or_grows_is_stopped() {
    let _one = alone();
    let doubled = |how: &str| {
        format!(
            "{{% set ns = namespace(x='x', l=[1]) %}}{{% for i in range(60) %}}{how}{{% endfor %}}{{{{ ns.l == [ns.l] }}}}"
        )
    };
    let long = "{% set s = 'x' * 1000000 %}{% set l = range(100000)|list %}";
    for source in [
        "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}".to_owned(),
        "{% macro f(n) %}{% for x in range(n) %}{{ f(n - 1) }}{% endfor %}{% endmacro %}{{ f(50) }}"
            .to_owned(),
        doubled("{% set ns.x = ns.x ~ ns.x %}"),
        doubled("{% set ns.x = ns.x + ns.x %}"),
        doubled("{% set ns.x = [ns.x, ns.x]|join %}"),
        doubled("{% set ns.x = ns.x.replace('x', 'xx') %}"),
        doubled("{% set ns.x = ns.x|replace('x', 'xx') %}"),
        doubled("{% set ns.l = ns.l + ns.l %}"),
        doubled("{% set ns.l = [ns.l, ns.l] %}"),
        doubled("{% set ns.l = (ns.l, ns.l) %}"),
        doubled("{% set ns.l = {'a': ns.l, 'b': ns.l} %}"),
        doubled("{% set ns.l = (ns.l + ns.l)|batch(2)|list %}"),
        format!("{{% set a = [1] %}}{}{{{{ a }}}}", "{% set a = a, a %}".repeat(70)),
        format!("{long}{{{{ s.replace('x', s) }}}}"),
        format!("{long}{{{{ s|replace('x', s) }}}}"),
        format!("{long}{{{{ l|join(s) }}}}"),
        format!("{long}{{{{ s.join(l) }}}}"),
        format!("{long}{{{{ [s] * 1000000 }}}}"),
        format!("{long}{{% set t %}}{{{{ [s] * 1000000 }}}}{{% endset %}}"),
        format!("{long}{{{{ ([s] * 1000000)|string }}}}"),
        format!("{long}{{{{ l|tojson(separators=[s, s]) }}}}"),
        format!("{long}{{{{ ('%(a)s' * 100000)|format(a=s) }}}}"),
        format!("{long}{{{{ ('{{0}}' * 100000).format(s) }}}}"),
        format!("{long}{{{{ (['a'] * 1000000)|sum(start='') }}}}"),
        "{{ [1]|batch(10**9, 0)|list }}".to_owned(),
        "{{ [1]|slice(10**9)|list }}".to_owned(),
        "{{ 'a\nb'|indent(2**63 - 1) }}".to_owned(),
        "{{ 'a' * 10**12 }}".to_owned(),
        "{{ '%999999999999d'|format(1) }}".to_owned(),
        "{{ messages|tojson(indent=2**62) }}".to_owned(),
        "{{ messages|tojson(indent=2**64 - 1) }}".to_owned(),
        "{{ ('x' * 10**7).split('') }}".to_owned(),
        "{{ strftime_now('%B' * 10**7) }}".to_owned(),
    ] {
        refused(&source, "it takes more than 1048576 steps, each an instruction or 64 bytes of text");
    }
}

#[test]
fn what_is_nested_without_end_is_refused() {
    let _one = alone();
    let holding =
        |itself: &str, then: &str| format!("{{% set ns = namespace() %}}{{% set ns.x = {itself} %}}{then}");
    let deep = |how: &str| {
        format!(
            "{{% set ns = namespace(x=[1]) %}}{{% for i in range(100000) %}}{{% set ns.x = {how} %}}{{% endfor %}}"
        )
    };
    for source in [
        holding("ns", "{{ ns }}"),
        holding("[ns]", "{{ ns.x }}"),
        holding("ns", "{{ ns|tojson }}"),
        holding("ns", "{{ ns ~ 'x' }}"),
        holding("ns", "{% set t %}{{ ns }}{% endset %}"),
        holding("ns", "{{ ns == namespace(x=ns) }}"),
        holding("ns", "{{ {ns: 1} }}"),
        holding("ns", "{{ {}[ns] }}"),
        holding("ns", "{{ raise_exception(ns) }}"),
        holding("ns", "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(ns) }}"),
        deep("[ns.x]"),
        deep("{'a': ns.x}"),
        deep("(ns.x,)"),
        deep("ns.x|batch(1)|list"),
        deep("namespace(x=ns.x)"),
        deep("dict(x=ns.x)"),
        deep("{'a': ns.x}.items()|list"),
    ] {
        refused(&source, "a value is nested more than 100 deep, or holds itself");
    }
}

#[test]
fn what_the_parser_would_recurse_into_is_counted_first() {
    let _one = alone();
    let wrapped = |open: &str, times: usize, close: &str| {
        format!("{{{{ {}1{} }}}}", open.repeat(times), close.repeat(times))
    };
    refused(&wrapped("[", 100_000, "]"), "more than 64 brackets open at once");
    refused(&wrapped("(", 100_000, ")"), "more than 64 brackets open at once");
    refused(&wrapped("a[", 60_000, "]"), "more than 64 brackets open at once");
    for (text, times) in [("not ", 60_000), ("-", 100_000), ("1 + ", 60_000), ("1 if 0 else ", 20_000)] {
        refused(&wrapped(text, times, ""), "more than 4096 words and signs in one tag");
    }
    refused(&format!("{{{{ 1{} }}}}", "|abs".repeat(60_000)), "more than 4096 words and signs in one tag");
    refused(&"{% if 1 %}".repeat(20_000), "template exceeds maximum recursion limits");
    refused(&format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(2000)), "more than 1024 `elif`");
    refused(&"x".repeat(1 << 19), "it has 524288 bytes, expected at most 262144");
    // As much as is let through, all at once.
    let longest =
        format!("{}{{{{ {}1 }}}}{}", "{% if 1 %}".repeat(60), "not ".repeat(4000), "{% endif %}".repeat(60));
    assert_eq!(render(&longest).unwrap(), "True");
    let chain = format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(1000));
    assert_eq!(render(&chain).unwrap(), "");
}

#[test]
fn what_the_engine_panics_over_is_an_error() {
    let _one = alone();
    refused("{%}x", "unknown `}`, expected statement");
    refused(
        "{% for x in [1] %}{{ loop.cycle() }}{% endfor %}",
        "the engine fails: attempt to calculate the remainder",
    );
    refused("{{ '{:>999999999999}'.format(1) }}", "a format of 999999999999 places, expected at most 4096");
    refused("{{ '{:.999999999f}'.format(1.0) }}", "a format of 999999999 places, expected at most 4096");
    // Whatever these are: no panic.
    for source in [
        "{{}x",
        "{#",
        "{% raw %}",
        "{{ '",
        "{{ 'abc'[::-9223372036854775808] }}",
        "{{ 1 // 0 }}",
        "{{ 2**10**9 }}",
        "{{ [1, 2][-9223372036854775808:9223372036854775807] }}",
        "{{ ('9' * 10**6)|int }}",
        "{{ 1.5|round(-2147483648) }}",
    ] {
        let _ = render(source);
    }
    let quoted = render("{{ raise_exception('x' * 10**6) }}").unwrap_err();
    assert!(
        quoted.starts_with("chat.jinja:1: the template refuses these messages: xxx") && quoted.len() < 400
    );
}

#[test]
fn what_is_within_the_limits_is_as_before() {
    let _one = alone();
    let appended = "{% set ns = namespace(l=[]) %}{% for i in range(300) %}{% set ns.l = ns.l + [{'a': {'b': i}}] %}{% endfor %}";
    for (source, expected) in [
        (
            "{{ [1, 2]|sum }}{{ [{'a': 1}]|sum(attribute='a', start=2) }}{{ [[1], [2]]|sum(start=[])|list }}",
            "33[1, 2]",
        ),
        ("{{ '%s-%d'|format('a', 3) }}{{ '{:>5}|{a}'.format(1, a=2) }}", "a-3    1|2"),
        ("{{ 'a b'.split()|join('-') }}{{ 'a,b'.split(',') }}", "a-b['a', 'b']"),
        ("{% set a, b = 1, 2 %}{{ a + b }}{{ (1, 2) == (1, 2) }}{{ 1 in [1] }}", "3TrueTrue"),
        ("{% for x in [1, 2] %}{{ loop.cycle('a', 'b') }}{% endfor %}{{ x is defined }}", "abFalse"),
        (
            "{% macro f(a, b=[1]) %}{{ a }}{{ b }}{{ caller() }}{% endmacro %}{% call f(2) %}c{% endcall %}",
            "2[1]c",
        ),
        (
            "{% set ns = namespace(a=1) %}{% set ns.a = {'b': [ns.a]} %}{{ ns.a|tojson(indent=1) }}",
            "{\n \"b\": [\n  1\n ]\n}",
        ),
        ("{% filter upper %}a{% endfilter %}{% set t %}b{% endset %}{{ t }}", "Ab"),
        (&format!("{appended}{{{{ ns.l|length }}}}{{{{ ns.l[299].a.b }}}}"), "300299"),
    ] {
        assert_eq!(render(source).unwrap(), expected, "{source}");
    }
}
