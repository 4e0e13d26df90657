//! What the self-check finds: damaged weights in any family, and subjects that break their own table of sites.
#![cfg(test)]

use burn::tensor::Device;
use mmlens_core::{
    Breach, HookError, Inputs, Output, Part, Point, Run, Sample, Site, SiteSpec, Subject, SubjectError, Words,
};
use mmlens_testkit::{Rewired, Toy, checkpoint};
use mmlens_zoo::self_check::self_check_subject;
use mmlens_zoo::{OpenOptions, ZooError};
use safetensors::{Dtype, SafeTensors};

/// A copy of a fixture's folder in which one number of one tensor is another.
fn damaged(name: &str, tensor: &str, value: f32) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut found = false;
    for entry in std::fs::read_dir(checkpoint(name)).unwrap() {
        let path = entry.unwrap().path();
        let to = folder.path().join(path.file_name().unwrap());
        let mut bytes = std::fs::read(&path).unwrap();
        if path.extension().is_some_and(|e| e == "safetensors") {
            let at = SafeTensors::deserialize(&bytes).unwrap().tensor(tensor).ok().map(|view| {
                assert_eq!(view.dtype(), Dtype::F32);
                view.data().as_ptr().addr() - bytes.as_ptr().addr()
            });
            if let Some(at) = at {
                found = true;
                bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
            }
        }
        std::fs::write(to, bytes).unwrap();
    }
    assert!(found, "{name} has no `{tensor}`");
    folder
}

#[test]
fn damaged_weights_are_found_where_they_show_first() {
    let device = Device::flex();
    for (name, tensor, value, site) in [
        ("llava-a", "language_model.model.layers.1.self_attn.k_proj.bias", f32::NAN, "text.blocks.1.attn.k"),
        ("gpt2-a", "transformer.h.0.mlp.c_proj.bias", f32::INFINITY, "text.blocks.0.mlp_out"),
        ("llava-a", "multi_modal_projector.linear_2.bias", f32::NAN, "connector.out"),
        ("clip-a", "vision_model.post_layernorm.bias", f32::NAN, "vision.pooled"),
        ("siglip-a", "vision_model.head.attention.in_proj_bias", f32::NAN, "vision.pool.pattern"),
    ] {
        let folder = damaged(name, tensor, value);
        let opened = OpenOptions::new(&device).open(folder.path());
        match opened.err() {
            Some(ZooError::SelfCheck(Breach::NotANumber { site: found, .. })) => {
                assert_eq!(found.to_string(), site, "{name}");
            }
            other => panic!("{name}: {other:?}"),
        }
        OpenOptions::new(&device).self_check(false).open(folder.path()).unwrap();
    }
}

#[test]
fn similarities_that_are_no_numbers_are_found() {
    let folder = damaged("clip-a", "logit_scale", f32::INFINITY);
    let error = OpenOptions::new(&Device::flex()).open(folder.path()).err().unwrap();
    assert!(matches!(error, ZooError::SelfCheck(Breach::Output { .. })), "{error}");
    assert!(error.to_string().starts_with("the self-check failed: the output holds "), "{error}");
}

/// What is wrong with a subject.
#[derive(Debug, Clone, Copy)]
enum Fault {
    None,
    /// Publishes a site that it never reaches.
    Missing,
    /// Reaches a site that it does not publish.
    Hidden,
    /// Adds something to the stream that it does not show.
    Unwritten,
    /// Weights that do not sum to one.
    Weights,
}

/// What the toy publishes, with a fault.
fn published(toy: &Toy, fault: Fault) -> Vec<SiteSpec> {
    let mut sites = toy.sites().to_vec();
    let at = |point| Site::block(Part::Text, 1, point);
    match fault {
        Fault::Missing => {
            let spec = sites.iter().find(|s| s.site == at(Point::MlpOut)).unwrap().clone();
            sites.push(SiteSpec { site: at(Point::Deepstack), ..spec });
            sites.sort_by_key(|s| s.site);
        }
        Fault::Hidden => sites.retain(|s| s.site != at(Point::Z)),
        _ => {}
    }
    sites
}

/// A pass of the toy with a fault: its sites are passed on to a run of its own, and from there to the run that looks.
fn faulty(toy: &Toy, fault: Fault, inputs: &Inputs, run: &mut Run) -> Result<Output, SubjectError> {
    let plan = toy.sites().iter().try_fold(mmlens_core::Plan::new().to_output(), |p, s| p.read(s.site))?;
    let trace = toy.run(inputs, plan)?;
    for (site, value) in trace.values() {
        let value = match (fault, site.point()) {
            (Fault::Unwritten, Point::ResidMid) | (Fault::Weights, Point::Pattern) => {
                let doubled = value.to_values()?.iter().map(|v| v * 1.5).collect();
                value.filled(doubled)?
            }
            _ => value.clone(),
        };
        run.at(site, value)?;
    }
    Ok(trace.output().clone())
}

fn breach(fault: Fault) -> Option<Breach> {
    let toy = Toy::curved(7);
    let subject = Rewired::new(&toy, |inputs, run| faulty(&toy, fault, inputs, run));
    let subject = subject.publishing(published(&toy, fault));
    let picture = image::RgbImage::from_fn(8, 8, |x, y| image::Rgb([x as u8 * 30, y as u8 * 30, 99]));
    let sample = Sample::new(vec![mmlens_core::Picture::new("p", picture)], Words::Prompt("ab#c".to_owned()));
    match self_check_subject(&subject, &subject.encode(&sample).unwrap()) {
        Ok(()) => None,
        Err(ZooError::SelfCheck(breach)) => Some(breach),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn subjects_that_break_their_table_are_found() {
    let site = |point| Site::block(Part::Text, 1, point);
    assert_eq!(breach(Fault::None), None);
    assert_eq!(breach(Fault::Missing), Some(HookError::NeverReached(site(Point::Deepstack)).into()));
    assert_eq!(breach(Fault::Hidden), Some(HookError::Unpublished(site(Point::Z)).into()));
    let first = |point| Site::block(Part::Text, 0, point);
    match breach(Fault::Unwritten) {
        Some(Breach::Sum { site, before, added, off, size, .. }) => {
            assert_eq!(
                (site, before, added),
                (first(Point::ResidMid), first(Point::ResidPre), first(Point::AttnOut))
            );
            assert!(off > 0.0 && off < size);
        }
        other => panic!("{other:?}"),
    }
    match breach(Fault::Weights) {
        Some(Breach::Weights { site, row: 0, off, .. }) => {
            assert_eq!(site, first(Point::Pattern));
            assert!((off - 0.5).abs() < 1e-5);
        }
        other => panic!("{other:?}"),
    }
}

/// Without a picture, the sites of the toy's tower are not reached.
#[test]
fn inputs_that_do_not_show_every_site_are_found() {
    let toy = Toy::straight(3);
    let inputs = toy.encode(&Sample::new(Vec::new(), Words::Prompt("abc".to_owned()))).unwrap();
    let error = self_check_subject(&toy, &inputs).unwrap_err();
    assert!(matches!(error, ZooError::SelfCheck(Breach::Hook(HookError::NeverReached(_)))), "{error}");
}
