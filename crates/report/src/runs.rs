//! Runs of tokens that carry one picture: hundreds of positions that a reader wants to see as one thing.

use mmlens_finding::{Modality, TokenLabel};
use serde::Serialize;

/// A run of positions that carry one picture, video or recording.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Run {
    /// First position.
    pub(crate) from: usize,
    /// First position after it.
    pub(crate) to: usize,
    /// What it carries, in words.
    pub(crate) name: String,
    /// Its positions as they lie in the picture, one grid for each tile and frame.
    pub(crate) grids: Vec<Grid>,
}

/// The positions of one tile of one frame.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Grid {
    tile: usize,
    frame: usize,
    rows: usize,
    columns: usize,
    /// Position, row and column of each patch.
    cells: Vec<[usize; 3]>,
}

/// All runs of two positions or more. A single marker between two parts of one picture belongs to its run.
pub(crate) fn runs(tokens: &[TokenLabel]) -> Vec<Run> {
    let many = images(tokens) > 1;
    let mut runs = Vec::new();
    let mut from = 0;
    while let Some(token) = tokens.get(from) {
        let to = end(tokens, from);
        if to > from + 1 {
            let inside = tokens.get(from..to).unwrap_or_default();
            let name = name(token.modality, image(inside).filter(|_| many));
            runs.push(Run { from, to, name, grids: grids(inside, from) });
        }
        from = to.max(from + 1);
    }
    runs
}

/// First position after the run that begins at `from`; `from` itself if none begins there.
fn end(tokens: &[TokenLabel], from: usize) -> usize {
    let Some(first) = tokens.get(from).filter(|token| carries(token)) else { return from };
    let same = |token: &TokenLabel, image: Option<usize>| {
        let here = token.patch.map(|patch| patch.image);
        token.modality == first.modality && (here.is_none() || image.is_none() || here == image)
    };
    let (mut at, mut image) = (from, None);
    loop {
        let marker = usize::from(tokens.get(at).is_some_and(|token| token.modality == Modality::Special));
        match tokens.get(at + marker) {
            Some(token) if same(token, image) => {
                image = image.or(token.patch.map(|patch| patch.image));
                at += marker + 1;
            }
            _ => return at,
        }
    }
}

const fn carries(token: &TokenLabel) -> bool {
    matches!(token.modality, Modality::Image | Modality::Video | Modality::Audio)
}

fn image(tokens: &[TokenLabel]) -> Option<usize> {
    tokens.iter().find_map(|token| token.patch.map(|patch| patch.image))
}

/// How many different pictures the tokens speak of.
fn images(tokens: &[TokenLabel]) -> usize {
    let mut images: Vec<usize> = tokens.iter().filter_map(|t| t.patch.map(|patch| patch.image)).collect();
    images.sort_unstable();
    images.dedup();
    images.len()
}

fn name(modality: Modality, image: Option<usize>) -> String {
    let kind = match modality {
        Modality::Audio => "recording",
        Modality::Video => "video",
        _ => "image",
    };
    image.map_or_else(|| kind.to_owned(), |image| format!("{kind} {image}"))
}

fn grids(tokens: &[TokenLabel], from: usize) -> Vec<Grid> {
    let mut grids: Vec<Grid> = Vec::new();
    for (i, patch) in tokens.iter().enumerate().filter_map(|(i, token)| Some((i, token.patch?))) {
        let cell = [from + i, patch.row, patch.col];
        let (rows, columns) = (patch.row + 1, patch.col + 1);
        match grids.iter_mut().find(|grid| (grid.tile, grid.frame) == (patch.tile, patch.frame)) {
            Some(grid) => {
                // no NaN: whole numbers
                grid.rows = grid.rows.max(rows);
                grid.columns = grid.columns.max(columns); // no NaN: whole numbers
                grid.cells.push(cell);
            }
            None => {
                let (tile, frame) = (patch.tile, patch.frame);
                grids.push(Grid { tile, frame, rows, columns, cells: vec![cell] });
            }
        }
    }
    grids
}

#[cfg(test)]
mod tests {
    use mmlens_finding::{Modality, PatchLabel, TokenLabel};

    use super::runs;

    fn word(text: &str) -> TokenLabel {
        TokenLabel::new(text, Modality::Text)
    }

    fn patch(image: usize, row: usize, col: usize) -> TokenLabel {
        let patch = PatchLabel { image, tile: 0, frame: 0, row, col, bbox: [0.0; 4] };
        TokenLabel::new("<image>", Modality::Image).with_patch(patch)
    }

    #[test]
    fn a_picture_is_one_run_with_its_grid() {
        let tokens = [word("a"), patch(0, 0, 0), patch(0, 0, 1), patch(0, 1, 0), patch(0, 1, 1), word("b")];
        let runs = runs(&tokens);
        assert_eq!(runs.len(), 1);
        assert_eq!((runs[0].from, runs[0].to, runs[0].name.as_str()), (1, 5, "image"));
        let grid = &runs[0].grids[0];
        assert_eq!((grid.rows, grid.columns, grid.cells[2]), (2, 2, [3, 1, 0]));
    }

    #[test]
    fn row_markers_stay_inside_and_other_pictures_outside() {
        let newline = TokenLabel::new("\n", Modality::Special);
        let tokens = [
            newline.clone(),
            patch(0, 0, 0),
            newline.clone(),
            patch(0, 1, 0),
            newline.clone(),
            patch(1, 0, 0),
            patch(1, 0, 1),
            newline,
        ];
        let found: Vec<_> = runs(&tokens).iter().map(|run| (run.from, run.to, run.name.clone())).collect();
        assert_eq!(found, [(1, 4, "image 0".to_owned()), (5, 7, "image 1".to_owned())]);
    }

    #[test]
    fn words_alone_and_single_patches_make_no_run() {
        assert!(runs(&[word("a"), patch(0, 0, 0), word("b")]).is_empty());
        assert!(runs(&[]).is_empty());
        let audio = TokenLabel::new("<audio>", Modality::Audio);
        assert_eq!(runs(&[audio.clone(), audio])[0].name, "recording");
    }
}
