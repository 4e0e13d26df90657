//! The page of a session: one HTML document that fetches nothing but the answers of its own server.

use std::io::Cursor;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::ImageFormat;
use image::codecs::jpeg::JpegEncoder;
use mmlens_core::{Picture, SubjectError};
use sha2::{Digest, Sha256};

const BODY: &str = include_str!("assets/studio.html");
const STYLE: &str = include_str!("assets/studio.css");
const SCRIPT: &str = include_str!("assets/studio.js");

/// Pictures of more pixels are put on the page as JPEG, which is smaller.
const MOST_EXACT: u64 = 1 << 20;
const QUALITY: u8 = 90;

/// A page, and the policy that it is served with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The whole of it.
    pub html: String,
    /// What it may do: run its own scripts, show the pictures that it holds, ask the server that it came from.
    pub policy: String,
}

/// The page of a session about these pictures. `further` are scripts behind its own; the policy names every one.
///
/// # Errors
/// [`SubjectError::Picture`] for a picture that cannot be written.
pub fn page(pictures: &[Picture], further: &[&str]) -> Result<Document, SubjectError> {
    let shown = pictures.iter().map(shown).collect::<Result<Vec<_>, _>>()?;
    // Nothing in it but digits of base64.
    let shown = format!("[{}]", shown.iter().map(|own| format!("\"{own}\"")).collect::<Vec<_>>().join(","));
    let scripts: Vec<&str> = [SCRIPT].into_iter().chain(further.iter().copied()).collect();
    let hash = |text: &str| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)));
    let hashes: Vec<String> = scripts.iter().map(|script| hash(script)).collect();
    let policy = format!(
        "default-src 'none'; img-src data:; style-src {}; script-src {}; connect-src 'self'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'",
        hash(STYLE),
        hashes.join(" ")
    );
    let scripts: String = scripts.iter().map(|script| format!("<script>{script}</script>\n")).collect();
    let html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<link rel=\"icon\" href=\"data:,\">\n<title>mmlens studio</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{BODY}\
         <script type=\"application/json\" id=\"pictures\">{shown}</script>\n{scripts}</body>\n</html>\n"
    );
    Ok(Document { html, policy })
}

/// A picture as an address that holds it, as models take it.
fn shown(picture: &Picture) -> Result<String, SubjectError> {
    let pixels = picture.rgb()?;
    let mut bytes = Cursor::new(Vec::new());
    let (kind, written) = match u64::from(pixels.width()) * u64::from(pixels.height()) <= MOST_EXACT {
        true => ("png", pixels.write_to(&mut bytes, ImageFormat::Png)),
        false => ("jpeg", pixels.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, QUALITY))),
    };
    written
        .map_err(|error| SubjectError::Picture { path: picture.name.clone(), reason: error.to_string() })?;
    Ok(format!("data:image/{kind};base64,{}", STANDARD.encode(bytes.into_inner())))
}

#[cfg(test)]
mod tests {
    use mmlens_core::Picture;

    use super::page;

    #[test]
    fn the_page_holds_all_it_shows_and_its_policy_names_its_scripts() {
        let picture = Picture::new("</script>", image::RgbImage::from_pixel(2, 2, image::Rgb([1, 2, 3])));
        let own = page(std::slice::from_ref(&picture), &[]).unwrap();
        assert!(own.html.contains("[\"data:image/png;base64,") && !own.html.contains("</script>\""));
        for part in ["default-src 'none'", "connect-src 'self'", "frame-ancestors 'none'"] {
            assert!(own.policy.contains(part), "{}", own.policy);
        }
        assert!(
            !own.policy.contains("unsafe") && !own.html.contains("http://") && !own.html.contains("https://")
        );
        let with = page(&[picture], &["1"]).unwrap();
        assert_eq!(with.policy.matches("'sha256-").count(), own.policy.matches("'sha256-").count() + 1);
    }
}
