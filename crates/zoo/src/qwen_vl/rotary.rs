//! Positions of patches: turned in two axes, and learned on a table of another size.

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::grid::Place;
use crate::parts::Rotation;

/// Rotation by row and column: the first half of the frequencies turns with the row, the second with the column.
pub(super) fn turn(places: &[Place], theta: f64, width: usize, device: &Device) -> Rotation {
    let half = width / 2;
    let frequencies: Vec<f32> =
        (0..half / 2).map(|i| 1.0 / (theta as f32).powf((2 * i) as f32 / half as f32)).collect();
    let along = |at: usize| frequencies.iter().map(move |f| at as f32 * f).collect::<Vec<f32>>();
    let angles = places.iter().flat_map(|p| along(p.row).into_iter().chain(along(p.col)));
    Rotation::of(angles.collect::<Vec<f32>>(), [1, places.len(), half], 1.0, device)
}

/// Two neighbours on an axis of the table and their shares: the ends of the picture lie on the ends of the table.
fn neighbours(at: usize, size: usize, side: usize) -> [(usize, f32); 2] {
    let last = side.saturating_sub(1);
    let exact = (at * last) as f32 / size.saturating_sub(1).max(1) as f32;
    let below = exact.floor();
    let share = exact - below;
    let first = (below as usize).min(last);
    [(first, 1.0 - share), ((first + 1).min(last), share)]
}

/// Learned positions of patches, `[patches, d]`, from a square table `[side * side, d]` by bilinear interpolation.
pub(super) fn learned(table: &Tensor<2>, side: usize, places: &[Place], device: &Device) -> Tensor<2> {
    let (mut index, mut shares) = (Vec::new(), Vec::new());
    for place in places {
        for (row, down) in neighbours(place.row, place.size.0, side) {
            for (col, across) in neighbours(place.col, place.size.1, side) {
                index.push((row * side + col) as i64);
                shares.push(down * across);
            }
        }
    }
    let (n, d) = (places.len(), table.dims()[1]);
    let index = Tensor::<1, Int>::from_data(TensorData::new(index, [n * 4]), device);
    let shares = Tensor::<3>::from_data(TensorData::new(shares, [n, 4, 1]), device);
    (table.clone().select(0, index).reshape([n, 4, d]) * shares).sum_dim(1).squeeze_dim(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_lie_on_ends() {
        assert_eq!(neighbours(0, 7, 5), [(0, 1.0), (1, 0.0)]);
        assert_eq!(neighbours(6, 7, 5), [(4, 1.0), (4, 0.0)]);
        assert_eq!(neighbours(3, 7, 5), [(2, 1.0), (3, 0.0)]);
        assert_eq!(neighbours(1, 3, 4), [(1, 0.5), (2, 0.5)]);
        assert_eq!(neighbours(0, 1, 5), [(0, 1.0), (1, 0.0)]);
    }

    #[test]
    fn interpolation_keeps_a_slope() {
        let device = Device::default();
        let table =
            Tensor::<2>::from_data(TensorData::new((0..9).map(|i| i as f32).collect(), [9, 1]), &device);
        let places: Vec<Place> =
            (0..4).map(|i| Place { row: i / 2, col: i % 2, size: (2, 2), frame: 0 }).collect();
        let got = learned(&table, 3, &places, &device).into_data().try_to_vec::<f32>().unwrap();
        assert_eq!(got, [0.0, 2.0, 6.0, 8.0]);
    }
}
