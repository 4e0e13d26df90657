use burn::tensor::Device;
use proptest::prelude::*;

use super::*;

/// Which pairs do not see one another, `[row][query][key]`, from a mask for so many rows.
fn hidden(masking: &Masking, [rows, queries, keys]: [usize; 3]) -> Vec<Vec<Vec<bool>>> {
    let rules = masking.rules([rows, queries, keys]);
    let row = |row| {
        let all = rules.hidden(row, 0..queries, 0..keys);
        all.chunks(keys).map(<[bool]>::to_vec).collect()
    };
    (0..rows).map(row).collect()
}

/// From the definition, pair by pair.
fn defined(shape: [usize; 3], masked: impl Fn(usize, usize, usize) -> bool) -> Vec<Vec<Vec<bool>>> {
    let [rows, queries, keys] = shape;
    let query = |row, query| (0..keys).map(|key| masked(row, query, key)).collect();
    let row = |row| (0..queries).map(|at| query(row, at)).collect();
    (0..rows).map(row).collect()
}

fn beyond(reach: Reach, query: usize, key: usize) -> bool {
    match reach {
        Reach::Both => false,
        Reach::Before => key > query,
        Reach::Window(size) => key > query || key + size <= query,
    }
}

fn reaches() -> impl Strategy<Value = Reach> {
    prop_oneof![Just(Reach::Both), Just(Reach::Before), (1_usize..9).prop_map(Reach::Window)]
}

type Sides = Vec<(usize, usize)>;

fn padded() -> impl Strategy<Value = (Sides, usize, usize)> {
    let row = prop_oneof![Just((0, 0)), (0_usize..9, 0_usize..9)];
    (proptest::collection::vec(row, 1..4), 0_usize..6, 1_usize..9)
}

/// What is computed covers what is seen, and every query and pair once.
fn blocks_cover(masking: &Masking, shape: [usize; 3]) {
    let [rows, queries, keys] = shape;
    let table = hidden(masking, shape);
    let rules = masking.rules(shape);
    for (row, table) in table.iter().enumerate().take(rows) {
        let mut next = 0;
        for block in rules.blocks(row, Sizing::new(3, 32)) {
            assert_eq!((block.batch(), block.queries().start), (row, next));
            assert!(block.queries().len() <= 3);
            next = block.queries().end;
            let tiles = block.tiles(32);
            for query in block.queries() {
                let mut seen = vec![false; keys];
                for tile in &tiles {
                    assert!(tile.width() <= 32);
                    let columns = block.columns(tile, query);
                    for piece in tile.pieces() {
                        for i in (0..piece.keys).filter(|i| columns.contains(&(piece.column + i))) {
                            assert!(!std::mem::replace(&mut seen[piece.key + i], true), "twice");
                        }
                    }
                }
                let blind = table[query].iter().all(|hidden| *hidden);
                assert_eq!(block.is_blind(), blind);
                let want: Vec<bool> = table[query].iter().map(|hidden| blind || !hidden).collect();
                assert_eq!(seen, want);
            }
        }
        assert_eq!(next, queries);
    }
    let pairs = table.iter().flatten().flatten().filter(|hidden| !**hidden).count() as u64;
    assert_eq!(masking.pairs(shape), pairs);
    assert!(masking.visits(shape) >= pairs);
}

proptest! {
    #[test]
    fn rows_are_as_defined(reach in reaches(), (sides, past, length) in padded()) {
        let (pads, tails): (Vec<_>, Vec<_>) = sides.iter().copied().unzip();
        let shape @ [.., keys] = [sides.len(), length, past + length];
        let padding = Padding { pads: &pads, tails: &tails };
        let hidden_at = |row: usize, at: usize| at < pads[row] || at + tails[row] >= keys;

        let masking = Masking::rows(reach, padding, past, length);
        let want = defined(shape, |row, query, key| {
            let query = past + query;
            key != query && (beyond(reach, query, key) || hidden_at(row, key) || hidden_at(row, query))
        });
        prop_assert_eq!(hidden(&masking, shape), want);
        blocks_cover(&masking, shape);

        let masking = Masking::seen(reach, padding, past, length);
        let want = defined(shape, |row, query, key| {
            let query = past + query;
            let alone = key == query && query < pads[row] && reach != Reach::Both;
            !alone && (beyond(reach, query, key) || hidden_at(row, key))
        });
        prop_assert_eq!(hidden(&masking, shape), want);
        blocks_cover(&masking, shape);

        let masking = Masking::across(padding, 3, keys);
        let shape = [sides.len(), 3, keys];
        prop_assert_eq!(hidden(&masking, shape), defined(shape, |row, _, key| hidden_at(row, key)));
        blocks_cover(&masking, shape);
    }

    #[test]
    fn groups_are_as_defined(names in proptest::collection::vec(0_u8..4, 1..40)) {
        let shape = [2, names.len(), names.len()];
        let masking = Masking::groups(&names);
        prop_assert_eq!(hidden(&masking, shape), defined(shape, |_, q, k| names[q] != names[k]));
        blocks_cover(&masking, shape);
    }
}

/// A rule that hides nothing is none.
#[test]
fn what_hides_nothing_costs_nothing() {
    let none = Padding { pads: &[0, 0], tails: &[] };
    assert!(Masking::rows(Reach::Before, none, 7, 1).0.is_none());
    assert!(Masking::rows(Reach::Window(8), none, 7, 1).0.is_none());
    assert!(Masking::rows(Reach::Window(7), none, 7, 1).0.is_some());
    assert!(Masking::seen(Reach::Both, none, 0, 9).0.is_none());
    assert!(Masking::across(none, 3, 9).0.is_none());
    assert!(Masking::groups(&[1, 1, 1]).0.is_none());
    assert!(Masking::none().table(0..9, &Device::flex()).is_none());
}

#[test]
fn the_table_is_that_of_the_rules() {
    let padding = Padding { pads: &[0, 1], tails: &[] };
    let masking = Masking::rows(Reach::Before, padding, 0, 2);
    let table = masking.table(0..2, &Device::flex()).unwrap();
    assert_eq!(table.dims(), [2, 1, 2, 2]);
    // Row 0: a position and what is before it. Row 1: padding sees itself, the other sees no padding.
    let want = [false, true, false, false, false, true, true, false];
    assert_eq!(table.into_data().try_to_vec::<bool>().unwrap(), want);
    let last = masking.table(1..2, &Device::flex()).unwrap();
    assert_eq!(last.dims(), [2, 1, 1, 2]);
    assert_eq!(last.into_data().try_to_vec::<bool>().unwrap(), [false, false, true, false]);
}

/// Causal attention computes its triangle and half a block beside the diagonal, a window its band, groups their squares.
#[test]
fn visits_are_what_is_seen_and_little_beside() {
    let none = Padding { pads: &[], tails: &[] };
    for n in [1000, 4000, 16_000, 100_000_usize] {
        let shape = [1, n, n];
        let block = 128;
        let wide = n as u64;
        let causal = Masking::rows(Reach::Before, none, 0, n);
        assert_eq!(causal.pairs(shape), wide * (wide + 1) / 2);
        assert!(causal.visits(shape) <= causal.pairs(shape) + wide * block, "{n}");
        let window = Masking::rows(Reach::Window(512), none, 0, n);
        assert!(window.visits(shape) <= wide * (512 + block), "{n}");
        let names: Vec<usize> = (0..n).map(|i| i / 64).collect();
        assert!(Masking::groups(&names).visits(shape) <= 64 * wide, "{n}");
    }
}

/// Rules take memory for runs of positions, whatever the number of pairs.
#[test]
fn groups_that_alternate_share_their_ranges() {
    let names: Vec<usize> = (0..200_000).map(|i| i % 2).collect();
    let masking = Masking::groups(&names);
    let rules = masking.rules([1, names.len(), names.len()]);
    assert!(Arc::ptr_eq(&rules.rows[0][0].keys, &rules.rows[0][2].keys));
}

#[test]
#[should_panic(expected = "a mask of 2 rows, 3 queries and 3 keys over 1, 3 and 3")]
fn a_batch_of_another_size_is_refused() {
    let padding = Padding { pads: &[1, 0], tails: &[] };
    Masking::rows(Reach::Before, padding, 0, 3).rules([1, 3, 3]);
}
