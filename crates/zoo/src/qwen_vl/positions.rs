//! Where pictures and clips stand in a prompt, and the rotary positions in time, rows and columns that follow (M-RoPE).

use mmlens_core::Grid;

use super::QwenVlConfig;
use crate::ZooError;

/// One row of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowPlan {
    /// For each position, the merged patch that stands there, counted over all pictures and clips.
    pub sources: Vec<Option<usize>>,
    /// For each position, its place in time, rows and columns.
    pub positions: Vec<[usize; 3]>,
}

/// A run of positions that shows a picture, a clip or a frame.
struct Piece {
    token: u32,
    start: usize,
    size: [usize; 3],
    /// Positions in time from one step to the next.
    interval: f32,
}

impl RowPlan {
    /// Plans a row: its ids behind `pad` positions of padding (or as many as there are), and its pictures and clips, each in the
    /// order of their placeholders.
    ///
    /// Text counts on by one. A picture's positions count time, rows and columns from where the text stands, and the text
    /// goes on behind the longer of its sides.
    ///
    /// # Errors
    /// [`ZooError::Placeholders`] if the placeholders are not those of the pictures and clips.
    pub fn new(
        config: &QwenVlConfig,
        (row, ids, pad): (usize, &[u32], usize),
        images: &[usize],
        grids: &[Grid],
    ) -> Result<Self, ZooError> {
        let pad = pad.min(ids.len());
        let shown = |id: u32| id == config.image_token || id == config.video_token;
        let pieces: Vec<Piece> = images.iter().flat_map(|i| pieces(config, *i, grids)).collect();
        let misfit = || ZooError::Placeholders {
            row,
            found: ids.iter().skip(pad).filter(|id| shown(**id)).count(),
            expected: pieces.iter().map(|p| p.size.iter().product::<usize>()).sum(),
        };
        let mut plan = Self { sources: vec![None; pad], positions: vec![[0; 3]; pad] };
        // Pictures and clips are each used in their own order, as their tokens come.
        let of = |token: u32| pieces.iter().filter(move |p| p.token == token);
        let (mut pictures, mut clips) = (of(config.image_token), of(config.video_token));
        let (mut at, mut here) = (pad, 0);
        while let Some(id) = ids.get(at) {
            if !shown(*id) {
                plan.sources.push(None);
                plan.positions.push([here; 3]);
                (at, here) = (at + 1, here + 1);
                continue;
            }
            let next = if *id == config.image_token { pictures.next() } else { clips.next() };
            let piece = next.ok_or_else(misfit)?;
            let [frames, rows, cols] = piece.size;
            let length = frames * rows * cols;
            let run = ids.get(at..at + length).ok_or_else(misfit)?;
            if run.iter().any(|other| other != id) {
                return Err(misfit());
            }
            for i in 0..length {
                let (frame, row, col) = (i / (rows * cols), i / cols % rows, i % cols);
                let time = (frame as f32 * piece.interval) as usize;
                plan.sources.push(Some(piece.start + i));
                plan.positions.push([here + time, here + row, here + col]);
            }
            (at, here) = (at + length, here + rows.max(cols));
        }
        if pictures.next().or(clips.next()).is_some() { Err(misfit()) } else { Ok(plan) }
    }
}

/// What a picture or clip takes in the text: one run, or one for each frame.
fn pieces(config: &QwenVlConfig, index: usize, grids: &[Grid]) -> Vec<Piece> {
    let Some(grid) = grids.get(index) else { return Vec::new() };
    let (merge, unit) = (config.vision.merge, config.vision.unit());
    let start: usize = grids.iter().take(index).map(|g| g.patches() / unit).sum();
    let (rows, cols) = (grid.rows / merge, grid.cols / merge);
    let token = if grid.seconds.is_some() { config.video_token } else { config.image_token };
    let interval = match (config.vision.per_second, grid.seconds) {
        (Some(per_second), Some(seconds)) => per_second * seconds as f32,
        _ => 1.0,
    };
    if grid.seconds.is_some() && config.kind.frames_apart() {
        let frame = |i| Piece { token, start: start + i * rows * cols, size: [1, rows, cols], interval };
        return (0..grid.frames).map(frame).collect();
    }
    vec![Piece { token, start, size: [grid.frames, rows, cols], interval }]
}
