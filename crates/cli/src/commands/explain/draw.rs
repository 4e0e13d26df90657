//! Findings as the page and its pictures show them.

use anyhow::Result;
use mmlens::core::Method;
use mmlens::engine::Settled;
use mmlens::files::RunFolder;
use mmlens::finding::Finding;
use mmlens::report::{OverlaySettings, Page, ReportError, drawn, on_picture, overlay_png};

use super::told::HeatMap;

/// A finding as the page shows it, with the token or the answer that is explained called by its text.
pub(super) fn on_page_of(mut finding: Finding, Settled { id, text, .. }: &Settled) -> Finding {
    let told = finding.provenance.objective.take().map(|told| match id {
        Some(id) => told.replace(&format!("token {id}"), &format!("token {id} (“{text}”)")),
        None => format!("{told} (“{text}”)"),
    });
    finding.provenance.objective = told;
    finding
}

/// The heat maps of a finding, as files.
pub(super) fn draw(
    method: &Method,
    finding: &Finding,
    page: &Page,
    run: &mut RunFolder,
) -> Result<Vec<HeatMap>> {
    let mut written = Vec::new();
    let Some(heat) = drawn(finding) else { return Ok(written) };
    for (index, picture) in page.pictures.iter().enumerate() {
        let (image, frame) = picture.place(index);
        let on = match on_picture(&heat.tables, (image, frame), picture.dimensions()) {
            Err(ReportError::OtherPicture { .. }) => continue,
            on => on?,
        };
        let settings = OverlaySettings { image, frame, ..OverlaySettings::default() };
        let name = match (image, frame) {
            (0, 0) => String::new(),
            (_, 0) => format!("-{image}"),
            _ => format!("-{image}-{frame}"),
        };
        let png = overlay_png(picture, &heat.tables, settings)?;
        let file = run.write(&format!("{}{name}.png", method.card.short), &png)?;
        let aside = format!(", and {:.3} on what the processor put around the picture", on.outside);
        let shows = heat.from.clone() + if on.outside == 0.0 { "" } else { &aside };
        written.push(HeatMap { file, image: picture.name().to_owned(), shows });
    }
    Ok(written)
}
