//! Whatever leads to a subject is a subject: a reference, a box, an `Arc`; and decorators, which hand on what they do not change.

use std::sync::Arc;

use crate::Subject;

/// Methods of [`Subject`](crate::Subject) that are handed on to another subject, in an `impl` of it: those that are named, or
/// `all`. With `#[deny(clippy::missing_trait_methods)]` before the `impl`, a method that the trait gains is not forgotten.
///
/// ```
/// use mmlens_core::{Subject, forward_subject};
/// struct Renamed<S>(S);
///
/// #[deny(clippy::missing_trait_methods)]
/// impl<S: Subject> Subject for Renamed<S> {
///     forward_subject!(|own| &own.0; weights_hash, alterations, dtype, device, kernels, differentiable, edited, sites, anatomy, read_behind, weights, weight, encode,
///         forward, resumes_from_suffix, need, dims, fits, run, read_out, longest_answer, begin, rules, generate, decode, token, tokens,
///         mask, pad);
///
///     fn name(&self) -> &str {
///         "another name"
///     }
/// }
/// ```
#[macro_export]
macro_rules! forward_subject {
    (|$own:ident| $to:expr; all) => {
        $crate::forward_subject!(
            |$own| $to; name, weights_hash, alterations, dtype, device, kernels, differentiable, edited, sites, anatomy, read_behind, weights, weight, encode,
            forward, resumes_from_suffix, need, dims, fits, run, read_out, longest_answer, begin, rules, generate, decode,
            token, tokens, mask, pad
        );
    };
    (|$own:ident| $to:expr; $($method:ident),+ $(,)?) => {
        $($crate::forward_subject!(@$method |$own| $to);)+
    };
    (@name |$own:ident| $to:expr) => {
        fn name(&self) -> &str {
            let $own = self;
            $crate::Subject::name($to)
        }
    };
    (@weights_hash |$own:ident| $to:expr) => {
        fn weights_hash(&self) -> String {
            let $own = self;
            $crate::Subject::weights_hash($to)
        }
    };
    (@alterations |$own:ident| $to:expr) => {
        fn alterations(&self) -> &[String] {
            let $own = self;
            $crate::Subject::alterations($to)
        }
    };
    (@dtype |$own:ident| $to:expr) => {
        fn dtype(&self) -> String {
            let $own = self;
            $crate::Subject::dtype($to)
        }
    };
    (@device |$own:ident| $to:expr) => {
        fn device(&self) -> String {
            let $own = self;
            $crate::Subject::device($to)
        }
    };
    (@kernels |$own:ident| $to:expr) => {
        fn kernels(&self) -> Option<String> {
            let $own = self;
            $crate::Subject::kernels($to)
        }
    };
    (@edited |$own:ident| $to:expr) => {
        fn edited(&self) -> &[$crate::Site] {
            let $own = self;
            $crate::Subject::edited($to)
        }
    };
    (@sites |$own:ident| $to:expr) => {
        fn sites(&self) -> &[$crate::SiteSpec] {
            let $own = self;
            $crate::Subject::sites($to)
        }
    };
    (@anatomy |$own:ident| $to:expr) => {
        fn anatomy(&self) -> &[$crate::Anatomy] {
            let $own = self;
            $crate::Subject::anatomy($to)
        }
    };
    (@read_behind |$own:ident| $to:expr) => {
        fn read_behind(&self, part: $crate::Part) -> Vec<usize> {
            let $own = self;
            $crate::Subject::read_behind($to, part)
        }
    };
    (@weights |$own:ident| $to:expr) => {
        fn weights(&self) -> &[$crate::WeightSpec] {
            let $own = self;
            $crate::Subject::weights($to)
        }
    };
    (@weight |$own:ident| $to:expr) => {
        fn weight(&self, name: &str) -> Result<$crate::AnyTensor, $crate::SubjectError> {
            let $own = self;
            $crate::Subject::weight($to, name)
        }
    };
    (@encode |$own:ident| $to:expr) => {
        fn encode(&self, sample: &$crate::Sample) -> Result<$crate::Inputs, $crate::SubjectError> {
            let $own = self;
            $crate::Subject::encode($to, sample)
        }
    };
    (@forward |$own:ident| $to:expr) => {
        fn forward(
            &self,
            inputs: &$crate::Inputs,
            run: &mut $crate::Run,
        ) -> Result<$crate::Output, $crate::SubjectError> {
            let $own = self;
            $crate::Subject::forward($to, inputs, run)
        }
    };
    (@resumes_from_suffix |$own:ident| $to:expr) => {
        fn resumes_from_suffix(&self) -> bool {
            let $own = self;
            $crate::Subject::resumes_from_suffix($to)
        }
    };
    (@need |$own:ident| $to:expr) => {
        fn need(
            &self,
            inputs: &$crate::Inputs,
            plan: &$crate::Plan,
            copies: $crate::Copies,
        ) -> Result<$crate::Need, $crate::HookError> {
            let $own = self;
            $crate::Subject::need($to, inputs, plan, copies)
        }
    };
    (@dims |$own:ident| $to:expr) => {
        fn dims(&self, inputs: &$crate::Inputs, site: $crate::Site) -> Result<Vec<usize>, $crate::HookError> {
            let $own = self;
            $crate::Subject::dims($to, inputs, site)
        }
    };
    (@fits |$own:ident| $to:expr) => {
        fn fits(&self, inputs: &$crate::Inputs, run: &$crate::Run) -> Result<(), $crate::SubjectError> {
            let $own = self;
            $crate::Subject::fits($to, inputs, run)
        }
    };
    (@run |$own:ident| $to:expr) => {
        fn run(
            &self,
            inputs: &$crate::Inputs,
            plan: $crate::Plan,
        ) -> Result<$crate::Trace, $crate::SubjectError> {
            let $own = self;
            $crate::Subject::run($to, inputs, plan)
        }
    };
    (@read_out |$own:ident| $to:expr) => {
        fn read_out(
            &self,
            part: $crate::Part,
            states: $crate::AnyTensor,
        ) -> Result<$crate::AnyTensor, $crate::SubjectError> {
            let $own = self;
            $crate::Subject::read_out($to, part, states)
        }
    };
    (@longest_answer |$own:ident| $to:expr) => {
        fn longest_answer(&self, inputs: &$crate::Inputs) -> Option<usize> {
            let $own = self;
            $crate::Subject::longest_answer($to, inputs)
        }
    };
    (@generate |$own:ident| $to:expr) => {
        fn generate(
            &self,
            inputs: &$crate::Inputs,
            how: &$crate::Generation,
        ) -> Result<Vec<$crate::Generated>, $crate::SubjectError> {
            let $own = self;
            $crate::Subject::generate($to, inputs, how)
        }
    };
    (@begin |$own:ident| $to:expr) => {
        fn begin(
            &self,
            inputs: &$crate::Inputs,
            plan: $crate::Plan,
        ) -> Result<Box<dyn $crate::Session + '_>, $crate::SubjectError> {
            let $own = self;
            $crate::Subject::begin($to, inputs, plan)
        }
    };
    (@rules |$own:ident| $to:expr) => {
        fn rules(&self, inputs: &$crate::Inputs) -> Result<$crate::Rules, $crate::SubjectError> {
            let $own = self;
            $crate::Subject::rules($to, inputs)
        }
    };
    (@differentiable |$own:ident| $to:expr) => {
        fn differentiable(&self) -> bool {
            let $own = self;
            $crate::Subject::differentiable($to)
        }
    };
    (@decode |$own:ident| $to:expr) => {
        fn decode(&self, ids: &[u32]) -> Result<String, $crate::SubjectError> {
            let $own = self;
            $crate::Subject::decode($to, ids)
        }
    };
    (@token |$own:ident| $to:expr) => {
        fn token(&self, id: u32) -> String {
            let $own = self;
            $crate::Subject::token($to, id)
        }
    };
    (@tokens |$own:ident| $to:expr) => {
        fn tokens(&self, text: &str) -> Result<Vec<u32>, $crate::SubjectError> {
            let $own = self;
            $crate::Subject::tokens($to, text)
        }
    };
    (@mask |$own:ident| $to:expr) => {
        fn mask(&self) -> Option<u32> {
            let $own = self;
            $crate::Subject::mask($to)
        }
    };
    (@pad |$own:ident| $to:expr) => {
        fn pad(&self) -> u32 {
            let $own = self;
            $crate::Subject::pad($to)
        }
    };
}

#[deny(clippy::missing_trait_methods)]
impl<S: Subject + ?Sized> Subject for &S {
    forward_subject!(|own| &**own; all);
}

#[deny(clippy::missing_trait_methods)]
impl<S: Subject + ?Sized> Subject for Box<S> {
    forward_subject!(|own| &**own; all);
}

#[deny(clippy::missing_trait_methods)]
impl<S: Subject + ?Sized> Subject for Arc<S> {
    forward_subject!(|own| &**own; all);
}

#[cfg(test)]
mod tests {
    /// What comes between two words, each of them once.
    fn names<'a>(text: &'a str, before: &str, after: &[char]) -> Vec<&'a str> {
        let mut found: Vec<&str> =
            text.split(before).skip(1).filter_map(|rest| rest.split(after).next()).collect();
        found.sort_unstable();
        found
    }

    /// Clippy finds a method that is not handed on; this finds it without clippy.
    #[test]
    fn every_method_of_a_subject_is_handed_on() {
        let (subject, own) = (include_str!("subject.rs"), include_str!("forward.rs"));
        let methods = names(subject.split("pub trait Subject").nth(1).unwrap(), "\n    fn ", &['(']);
        assert!(methods.len() > 20, "{methods:?}");
        assert_eq!(names(own.split("#[cfg(test)]").next().unwrap(), "\n    (@", &[' ']), methods);
        let all = own.split("; all) => {").nth(1).unwrap();
        let mut all: Vec<&str> = all
            .split("$to; ")
            .nth(1)
            .unwrap()
            .split(");")
            .next()
            .unwrap()
            .split(',')
            .map(str::trim)
            .collect();
        all.sort_unstable();
        assert_eq!(all, methods);
    }

    /// Of a session all but what every one has its own way of.
    #[test]
    fn every_method_of_a_session_can_be_handed_on() {
        let own = include_str!("session.rs");
        let (session, handed) = own.split_once("macro_rules! forward_session").unwrap();
        let mut methods = names(session.split("pub trait Session").nth(1).unwrap(), "\n    fn ", &['(', '<']);
        assert!(methods.len() > 10, "{methods:?}");
        methods.retain(|method| !["fork", "step"].contains(method));
        assert_eq!(names(handed, "\n    (@", &[' ']), methods);
    }
}
