//! Jinja within limits: a template from outside ends, in bounded time and memory, or is refused.
//!
//! What bounds it: the template's size, what [`scan`] counts in it before it is parsed, minijinja's fuel, which every
//! instruction, byte and item costs, and [`weigh`], which charges values for what is nested in them (that is done to a
//! template as it is compiled: [`guard`]). It runs in a thread whose stack is large enough for what the scan lets through.

mod guard;
mod methods;
mod scan;
mod weigh;

use std::thread;

use minijinja::machinery::{CodeGenerator, eval, make_string_output, parse};
use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Value};
use mmlens_core::caught;

pub(super) use scan::MOST_TEMPLATE_BYTES;

/// Steps that a template may take, beside those for the messages: an instruction is one, and so are 64 bytes of text.
/// Templates of checkpoints take some thousand for a question. The texts that are made come to 64 MiB at most.
pub(super) const MOST_STEPS: u64 = 1 << 20;
/// More steps for each byte of the messages.
const STEPS_A_BYTE: u64 = 4;
/// Bytes of the stack: 4096 times what the deepest of the functions that recurse takes, and as much again.
const STACK: usize = 1 << 26;

/// A template that was found to be within its limits, and well formed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Jinja {
    name: String,
    source: String,
}

impl Jinja {
    /// Checks a template; `name` is what errors call it.
    pub(super) fn new(name: &str, source: &str) -> Result<Self, Error> {
        on_a_stack(|| {
            let source = scan::scan(source, &syntax()?)?;
            parse(&source, name, syntax()?)?;
            Ok(Self { name: name.to_owned(), source })
        })
    }

    /// The text it makes of some values, whose texts have so many bytes. `environment` has the functions and filters.
    pub(super) fn render(
        &self,
        environment: &mut Environment<'_>,
        values: &[(String, Value)],
        bytes: usize,
    ) -> Result<String, Error> {
        environment.set_fuel(Some(STEPS_A_BYTE.saturating_mul(bytes as u64).saturating_add(MOST_STEPS)));
        environment.set_unknown_method_callback(methods::method);
        environment.add_filter("format", methods::printf);
        environment.add_filter("sum", methods::sum);
        environment.add_filter(guard::WEIGH, weigh::weigh);
        environment.add_filter(guard::COUNT, weigh::count);
        on_a_stack(|| self.run(environment, values))
    }

    fn run(&self, environment: &Environment<'_>, values: &[(String, Value)]) -> Result<String, Error> {
        let template = guard::guarded(&parse(&self.source, &self.name, syntax()?)?);
        let mut code = CodeGenerator::new(&self.name, &self.source);
        code.compile_stmt(&template);
        let (instructions, blocks) = code.finish();
        let values = Value::from_pairs(values.iter().cloned());
        let mut text = String::new();
        let mut out = make_string_output(&mut text);
        eval(environment, &instructions, values, &blocks, &mut out, AutoEscape::None)?;
        drop(out);
        Ok(text)
    }
}

/// As transformers sets it: a line feed behind a block, and spaces before it, are no text.
fn syntax() -> Result<SyntaxConfig, Error> {
    SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()
}

/// Runs something that may recurse deeply, and panic.
fn on_a_stack<T: Send>(body: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
    let failed = |problem: String| Error::new(ErrorKind::InvalidOperation, problem);
    thread::scope(|scope| {
        let run = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, || caught(body));
        let run = run.map_err(|e| failed(format!("no thread for it: {e}")))?;
        let ended = run.join().map_err(|_| failed("its thread fails".to_owned()))?;
        ended.unwrap_or_else(|panic| Err(failed(format!("the engine fails: {panic}"))))
    })
}
