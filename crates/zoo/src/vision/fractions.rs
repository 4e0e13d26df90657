//! Learned positions for pictures of another size: a patch takes the position that lies at the same fraction of the side.

/// For each patch of a square picture, row by row, its position among those learned for `learned` patches along a side.
///
/// Follows transformers in f32 to the bit: where a fraction falls on the edge between two positions, the rounding of
/// either decides, and now and then a patch takes its neighbour's position even in a picture of the learned size.
pub(super) fn fractional(learned: usize, patches: usize) -> Vec<usize> {
    let side = buckets(learned, patches);
    side.iter().flat_map(|row| side.iter().map(move |col| row * learned + col)).collect()
}

fn buckets(learned: usize, patches: usize) -> Vec<usize> {
    let edges = edges(learned);
    let step = 1.0 / patches as f32;
    let last = (1.0 - 1e-6_f64) as f32;
    let bucket = |i: usize| {
        let at = (i as f32 * step).min(last);
        edges.partition_point(|edge| *edge <= at)
    };
    (0..patches).map(bucket).collect()
}

/// From `1 / learned` up to one, in steps of the same size, as `torch.arange` counts them: in blocks of sixteen, every
/// half block from a start that is rounded first; what is left over, one by one.
fn edges(learned: usize) -> Vec<f32> {
    let step = 1.0 / learned as f64;
    let count = ((1.0 - step) / step).ceil() as usize;
    let exact = |i: usize| (step + step * i as f64) as f32;
    let whole = count / 16 * 16;
    let halves = |i: usize| (f64::from(exact(i / 8 * 8)) + (i % 8) as f64 * step) as f32;
    (0..count).map(|i| if i < whole { halves(i) } else { exact(i) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_of_the_learned_size_keep_their_positions_mostly() {
        for learned in [1, 2, 5, 14, 16, 24, 26, 27, 30, 32, 60, 64] {
            assert_eq!(buckets(learned, learned), (0..learned).collect::<Vec<_>>(), "{learned}");
        }
        // What torch gives; 25 and 49 patches are among the sizes where rounding shows.
        let of_25 = [0, 1, 2, 3, 4, 4, 6, 7, 8, 8, 9, 10, 11, 12, 14, 14, 16, 17, 17, 19, 19, 21, 22, 22, 24];
        assert_eq!(buckets(25, 25), of_25);
        assert_eq!(buckets(20, 25)[15], 12);
        assert_eq!(buckets(28, 49)[28], 16);
    }

    #[test]
    fn other_sizes_are_stretched() {
        assert_eq!(buckets(5, 4), [0, 1, 2, 3]);
        assert_eq!(buckets(2, 6), [0, 0, 0, 1, 1, 1]);
        assert_eq!(fractional(2, 1), [0]);
        assert_eq!(fractional(3, 2), [0, 1, 3, 4]);
    }
}
