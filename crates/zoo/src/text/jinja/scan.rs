//! What a template has in it, counted before it is parsed, since the parser recurses.

use std::ops::Range;

use minijinja::machinery::{Span, Token, tokenize};
use minijinja::syntax::SyntaxConfig;
use minijinja::{Error, ErrorKind};

/// The most bytes of a template. Those of checkpoints have some 20,000 at most.
pub(in crate::text) const MOST_TEMPLATE_BYTES: usize = 1 << 18;
/// The most brackets that are open at once.
const MOST_OPEN: usize = 64;
/// The most words and signs between two delimiters: chains of operators, filters and so on are no longer.
const MOST_IN_A_TAG: usize = 4096;
/// The most `elif` of a template, each of which is nested in the one before.
const MOST_ELIF: usize = 1024;

/// Refuses a template that is too large or nested too deeply; gives it without the tags `generation` and `endgeneration`,
/// with which transformers notes what an assistant said. A plain scope stands in their place, so that lines and the
/// trimming of spaces stay as they are. Jinja keeps the end of the line behind a `raw` tag, where minijinja drops one, so
/// there are two.
pub(super) fn scan(source: &str, syntax: &SyntaxConfig) -> Result<String, Error> {
    if source.len() > MOST_TEMPLATE_BYTES {
        let found = format!("it has {} bytes, expected at most {MOST_TEMPLATE_BYTES}", source.len());
        return Err(Error::new(ErrorKind::SyntaxError, found));
    }
    let mut tag = Tag::default();
    let mut elifs = 0;
    let mut edits: Vec<(Range<usize>, &str)> = Vec::new();
    let mut before = 0;
    // What is no token is the parser's to complain of.
    for (token, span) in tokenize(source, false, syntax.clone()).map_while(Result::ok) {
        let (start, end) = (span.start_offset as usize, span.end_offset as usize);
        let skipped = source.get(std::mem::replace(&mut before, end)..start).unwrap_or_default();
        match &token {
            Token::TemplateData(_) if ends_raw(skipped) => edits.push((start..start, "\n")),
            Token::BlockStart | Token::VariableStart => tag = Tag::default(),
            Token::BlockEnd => {
                if let Some((range, scope)) = tag.scope.take().filter(|_| tag.tokens == 1) {
                    edits.push((range, scope));
                }
            }
            _ => tag.see(&token, span)?,
        }
        if tag.tokens == 1 && matches!(token, Token::Ident("elif")) {
            elifs += 1;
            if elifs > MOST_ELIF {
                return Err(beyond(span, format!("more than {MOST_ELIF} `elif`")));
            }
        }
    }
    let (mut out, mut at) = (String::with_capacity(source.len()), 0);
    for (range, with) in edits {
        out.push_str(source.get(at..range.start).unwrap_or_default());
        out.push_str(with);
        at = range.end;
    }
    out.push_str(source.get(at..).unwrap_or_default());
    Ok(out)
}

/// Whether what lies between two tokens ends with a `raw` tag and the end of its line.
fn ends_raw(skipped: &str) -> bool {
    let tag = skipped.strip_suffix("%}\n").and_then(|head| Some(&head[head.rfind("{%")? + 2..]));
    tag.is_some_and(|tag| tag.trim_start_matches(['-', '+']).trim() == "raw")
}

/// What is between two delimiters.
#[derive(Default)]
struct Tag {
    tokens: usize,
    open: usize,
    /// A tag of transformers, where it is, and what stands for it.
    scope: Option<(Range<usize>, &'static str)>,
}

impl Tag {
    fn see(&mut self, token: &Token<'_>, span: Span) -> Result<(), Error> {
        self.tokens += 1;
        if self.tokens > MOST_IN_A_TAG {
            return Err(beyond(span, format!("more than {MOST_IN_A_TAG} words and signs in one tag")));
        }
        let scope = match token {
            Token::Ident("generation") => Some("with"),
            Token::Ident("endgeneration") => Some("endwith"),
            _ => None,
        };
        if let Some(scope) = scope.filter(|_| self.tokens == 1) {
            self.scope = Some((span.start_offset as usize..span.end_offset as usize, scope));
        }
        match token {
            Token::ParenOpen | Token::BracketOpen | Token::BraceOpen => self.open += 1,
            Token::ParenClose | Token::BracketClose | Token::BraceClose => {
                self.open = self.open.saturating_sub(1);
            }
            _ => {}
        }
        match self.open > MOST_OPEN {
            true => Err(beyond(span, format!("more than {MOST_OPEN} brackets open at once"))),
            false => Ok(()),
        }
    }
}

fn beyond(span: Span, what: String) -> Error {
    Error::new(ErrorKind::SyntaxError, format!("{what}, in line {}", span.start_line))
}

#[cfg(test)]
mod tests {
    use super::super::syntax;
    use super::*;

    fn scanned(source: &str) -> Result<String, String> {
        scan(source, &syntax().unwrap()).map_err(|e| e.detail().unwrap().to_owned())
    }

    #[test]
    fn tags_of_transformers_become_scopes() {
        let with = |tag: &str| scanned(&tag.replace('|', "generation")).unwrap();
        assert_eq!(with("a{%- | -%}b{% end| %}"), "a{%- with -%}b{% endwith %}");
        for same in [
            "{%}x",
            "{{ '{% generation %}' }}",
            "{% raw %}{% generation %}{% endraw %}",
            "{#{% generation %}#}",
            "{% set generation = 1 %}",
            "{% generation.x %}",
            "é{% set x",
        ] {
            assert_eq!(scanned(same).unwrap(), same);
        }
    }

    #[test]
    fn the_end_of_a_line_behind_raw_is_doubled() {
        assert_eq!(scanned("a\n{% raw %}\nb{% endraw %}").unwrap(), "a\n{% raw %}\n\nb{% endraw %}");
        for same in [
            "{% raw -%}\nb{% endraw %}",
            "{% raw +%}\nb{% endraw %}",
            "{% raw %}b\n{% endraw %}",
            "{% if raw %}\n{% endif %}",
            "{# {% raw %}\n#}b",
        ] {
            assert_eq!(scanned(same).unwrap(), same);
        }
    }

    #[test]
    fn nesting_and_length_are_bounded() {
        let many = |text: &str, times: usize| text.repeat(times);
        assert!(scanned(&format!("{{{{ {}{} }}}}", many("[", 64), many("]", 64))).is_ok());
        for (source, said) in [
            (format!("\n{{{{ {}", many("[", 65)), "more than 64 brackets open at once, in line 2"),
            (format!("{{{{ 1{}", many("+1", 3000)), "more than 4096 words and signs in one tag, in line 1"),
            (format!("{{{{ {}x", many("not ", 5000)), "more than 4096 words and signs in one tag, in line 1"),
            (many("{% elif x %}", 1025), "more than 1024 `elif`, in line 1"),
            (many("x", (1 << 18) + 1), "it has 262145 bytes, expected at most 262144"),
        ] {
            assert_eq!(scanned(&source).unwrap_err(), said);
        }
        // What is text, a comment or a string counts for nothing.
        let text = format!("{{# {0} #}}{{{{ '{0}' }}}}{0}", many("[", 1000));
        assert_eq!(scanned(&text).unwrap(), text);
    }
}
