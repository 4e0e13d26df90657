//! A template as it is compiled: every value that is made of others, compared, written, or handed to a filter, a test or a
//! function goes over the scale ([`super::weigh`]) first.

use minijinja::machinery::ast;
use minijinja::machinery::ast::{
    AutoEscape, BinOp, BinOpKind, Call, CallArg, CallBlock, Compare, CompareOp, Const, Do, EmitExpr, EmitRaw,
    Expr, Extends, Filter, FilterBlock, ForLoop, FromImport, GetAttr, GetItem, IfCond, IfExpr, Import,
    Include, List, Macro, Map, Set, SetBlock, Slice, Spanned, Stmt, Template, Test, Tuple, UnaryOp,
    UnaryOpKind, Var, WithBlock,
};

/// The filter that weighs, and the one that counts. No template can call them: these are no names.
pub(super) const WEIGH: &str = "<weigh>";
pub(super) const COUNT: &str = "<count>";

/// Filters that look at a value, not at what is in it.
const SHALLOW_FILTERS: &[&str] = &["length", "count", "first", "last", "list", "items", "default", "d"];
/// Tests that do.
const SHALLOW_TESTS: &[&str] = &[
    "defined",
    "undefined",
    "none",
    "string",
    "number",
    "integer",
    "float",
    "boolean",
    "true",
    "false",
    "mapping",
    "sequence",
    "iterable",
    "callable",
    "odd",
    "even",
];

/// The same template, guarded.
pub(super) fn guarded<'a>(template: &Stmt<'a>) -> Stmt<'a> {
    stmt(template)
}

fn again<T, U>(old: &Spanned<T>, new: U) -> Spanned<U> {
    Spanned::new(new, old.span())
}

fn body<'a>(all: &[Stmt<'a>]) -> Vec<Stmt<'a>> {
    all.iter().map(stmt).collect()
}

fn stmt<'a>(one: &Stmt<'a>) -> Stmt<'a> {
    match one {
        Stmt::Template(s) => Stmt::Template(again(s, Template { children: body(&s.children) })),
        Stmt::EmitExpr(s) => Stmt::EmitExpr(again(s, EmitExpr { expr: weighed(&s.expr) })),
        Stmt::EmitRaw(s) => Stmt::EmitRaw(again(s, EmitRaw { raw: s.raw })),
        Stmt::ForLoop(s) => Stmt::ForLoop(again(
            s,
            ForLoop {
                target: target(&s.target),
                iter: expr(&s.iter),
                filter_expr: s.filter_expr.as_ref().map(expr),
                recursive: s.recursive,
                body: body(&s.body),
                else_body: body(&s.else_body),
            },
        )),
        Stmt::IfCond(s) => {
            let (true_body, false_body) = (body(&s.true_body), body(&s.false_body));
            Stmt::IfCond(again(s, IfCond { expr: expr(&s.expr), true_body, false_body }))
        }
        Stmt::WithBlock(s) => {
            let assignments = s.assignments.iter().map(|(to, from)| (target(to), expr(from))).collect();
            Stmt::WithBlock(again(s, WithBlock { assignments, body: body(&s.body) }))
        }
        Stmt::Set(s) => Stmt::Set(again(s, Set { target: target(&s.target), expr: expr(&s.expr) })),
        Stmt::SetBlock(s) => {
            let filter = s.filter.as_ref().map(expr);
            Stmt::SetBlock(again(s, SetBlock { target: target(&s.target), filter, body: body(&s.body) }))
        }
        Stmt::AutoEscape(s) => {
            Stmt::AutoEscape(again(s, AutoEscape { enabled: expr(&s.enabled), body: body(&s.body) }))
        }
        Stmt::FilterBlock(s) => {
            let (filter, filter_span) = (expr(&s.filter), s.filter_span);
            Stmt::FilterBlock(again(s, FilterBlock { filter, filter_span, body: body(&s.body) }))
        }
        Stmt::Block(s) => {
            let block = ast::Block { name: s.name, required: s.required, body: body(&s.body) };
            Stmt::Block(again(s, block))
        }
        Stmt::Import(s) => Stmt::Import(again(s, Import { expr: expr(&s.expr), name: target(&s.name) })),
        Stmt::FromImport(s) => {
            let names = s.names.iter().map(|(name, own)| (target(name), own.as_ref().map(target))).collect();
            Stmt::FromImport(again(s, FromImport { expr: expr(&s.expr), names }))
        }
        Stmt::Extends(s) => Stmt::Extends(again(s, Extends { name: expr(&s.name) })),
        Stmt::Include(s) => {
            Stmt::Include(again(s, Include { name: expr(&s.name), ignore_missing: s.ignore_missing }))
        }
        Stmt::Macro(s) => Stmt::Macro(declared(s)),
        Stmt::CallBlock(s) => {
            let call_expr_span = s.call_expr_span;
            let block =
                CallBlock { call: call(&s.call), call_expr_span, macro_decl: declared(&s.macro_decl) };
            Stmt::CallBlock(again(s, block))
        }
        Stmt::Continue(s) => Stmt::Continue(again(s, ast::Continue)),
        Stmt::Break(s) => Stmt::Break(again(s, ast::Break)),
        Stmt::Do(s) => Stmt::Do(again(s, Do { call: call(&s.call) })),
    }
}

fn declared<'a>(old: &Spanned<Macro<'a>>) -> Spanned<Macro<'a>> {
    let (args, defaults) = (old.args.iter().map(target).collect(), old.defaults.iter().map(expr).collect());
    again(old, Macro { name: old.name, args, defaults, body: body(&old.body) })
}

/// What is assigned to: names, attributes, and lists of these.
fn target<'a>(one: &Expr<'a>) -> Expr<'a> {
    match one {
        Expr::List(e) => Expr::List(again(e, List { items: e.items.iter().map(target).collect() })),
        other => expr(other),
    }
}

fn expr<'a>(one: &Expr<'a>) -> Expr<'a> {
    let boxed = |one: &Option<Expr<'a>>| one.as_ref().map(expr);
    match one {
        Expr::Var(e) => Expr::Var(again(e, Var { id: e.id })),
        Expr::Const(e) => Expr::Const(again(e, Const { value: e.value.clone() })),
        Expr::Slice(e) => {
            let (start, stop, step) = (boxed(&e.start), boxed(&e.stop), boxed(&e.step));
            Expr::Slice(again(e, Slice { expr: expr(&e.expr), start, stop, step }))
        }
        Expr::UnaryOp(e) => {
            #[allow(clippy::needless_match, reason = "the library's kind cannot be copied")]
            let op = match e.op {
                UnaryOpKind::Not => UnaryOpKind::Not,
                UnaryOpKind::Neg => UnaryOpKind::Neg,
            };
            Expr::UnaryOp(again(e, UnaryOp { op, expr: expr(&e.expr) }))
        }
        Expr::BinOp(e) => {
            let of = match e.op {
                BinOpKind::ScAnd | BinOpKind::ScOr => expr,
                // Lists are joined and repeated without a look at what is in them.
                BinOpKind::Add | BinOpKind::Mul => counted,
                _ => weighed,
            };
            Expr::BinOp(again(e, BinOp { op: e.op, left: of(&e.left), right: of(&e.right) }))
        }
        Expr::Compare(e) => {
            let ops = e.ops.iter().map(|one| CompareOp { op: one.op, expr: weighed(&one.expr) }).collect();
            Expr::Compare(again(e, Compare { expr: weighed(&e.expr), ops }))
        }
        Expr::IfExpr(e) => {
            let (test_expr, true_expr) = (expr(&e.test_expr), expr(&e.true_expr));
            Expr::IfExpr(again(e, IfExpr { test_expr, true_expr, false_expr: boxed(&e.false_expr) }))
        }
        Expr::Filter(e) => {
            let of = e.expr.as_ref().map(looked_at_by(SHALLOW_FILTERS, e.name));
            Expr::Filter(again(e, Filter { name: e.name, expr: of, args: args(&e.args) }))
        }
        Expr::Test(e) => {
            let of = looked_at_by(SHALLOW_TESTS, e.name)(&e.expr);
            Expr::Test(again(e, Test { name: e.name, expr: of, args: args(&e.args) }))
        }
        Expr::GetAttr(e) => Expr::GetAttr(again(e, GetAttr { expr: expr(&e.expr), name: e.name })),
        Expr::GetItem(e) => {
            let subscript_expr = weighed(&e.subscript_expr);
            Expr::GetItem(again(e, GetItem { expr: expr(&e.expr), subscript_expr }))
        }
        Expr::Call(e) => Expr::Call(call(e)),
        Expr::List(e) => {
            on_the_scale(Expr::List(again(e, List { items: e.items.iter().map(expr).collect() })))
        }
        Expr::Tuple(e) => {
            on_the_scale(Expr::Tuple(again(e, Tuple { items: e.items.iter().map(expr).collect() })))
        }
        Expr::Map(e) => {
            let keys = e.keys.iter().map(weighed).collect();
            let values = e.values.iter().map(expr).collect();
            on_the_scale(Expr::Map(again(e, Map { keys, values })))
        }
    }
}

fn call<'a>(old: &Spanned<Call<'a>>) -> Spanned<Call<'a>> {
    let callee = match &old.expr {
        // What a method is called on; `self`, `loop` and `caller` are no values.
        Expr::GetAttr(e) if !matches!(&e.expr, Expr::Var(var) if matches!(var.id, "self" | "loop")) => {
            Expr::GetAttr(again(e, GetAttr { expr: weighed(&e.expr), name: e.name }))
        }
        other => expr(other),
    };
    again(old, Call { expr: callee, args: args(&old.args) })
}

fn args<'a>(all: &[CallArg<'a>]) -> Vec<CallArg<'a>> {
    let arg = |one: &CallArg<'a>| match one {
        CallArg::Pos(e) => CallArg::Pos(weighed(e)),
        CallArg::Kwarg(name, e) => CallArg::Kwarg(name, weighed(e)),
        CallArg::PosSplat(e) => CallArg::PosSplat(weighed(e)),
        CallArg::KwargSplat(e) => CallArg::KwargSplat(weighed(e)),
    };
    all.iter().map(arg).collect()
}

fn looked_at_by<'a>(shallow: &[&str], name: &str) -> fn(&Expr<'a>) -> Expr<'a> {
    if shallow.contains(&name) { counted } else { weighed }
}

fn weighed<'a>(one: &Expr<'a>) -> Expr<'a> {
    on_the_scale(expr(one))
}

fn counted<'a>(one: &Expr<'a>) -> Expr<'a> {
    through(COUNT, expr(one))
}

fn on_the_scale(one: Expr<'_>) -> Expr<'_> {
    through(WEIGH, one)
}

/// A value that went through a filter of ours; not twice, and constants not at all.
fn through<'a>(filter: &'static str, one: Expr<'a>) -> Expr<'a> {
    let done = matches!(&one, Expr::Filter(e) if e.name == WEIGH || e.name == filter);
    if done || matches!(one, Expr::Const(_)) {
        return one;
    }
    let span = one.span();
    Expr::Filter(Spanned::new(Filter { name: filter, expr: Some(one), args: Vec::new() }, span))
}
