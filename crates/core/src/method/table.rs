//! One table of the tables of several crates.

/// The table of the methods of several crates, `METHODS`, and that of what they learn first, `FITS`: the rows of each crate, in this order.
///
/// ```ignore
/// mmlens_core::tables! { mmlens_data, mmlens_model }
/// ```
#[macro_export]
macro_rules! tables {
    ($($table:ident),+ $(,)?) => {
        /// Every method, in the order in which they are run and shown.
        pub static METHODS: &[$crate::Method] = {
            const TABLES: &[&[$crate::Method]] = &[$($table::METHODS),+];
            const ROWS: [$crate::Method; $crate::table::rows(TABLES)] = $crate::table::joined(TABLES);
            &ROWS
        };

        /// Everything that learns before it is a method.
        pub static FITS: &[$crate::Fitting] = {
            const TABLES: &[&[$crate::Fitting]] = &[$($table::FITS),+];
            const ROWS: [$crate::Fitting; $crate::table::rows(TABLES)] = $crate::table::joined(TABLES);
            &ROWS
        };
    };
}

/// How many rows some tables have.
#[must_use]
pub const fn rows<T>(tables: &[&[T]]) -> usize {
    let (mut all, mut table) = (0, 0);
    while table < tables.len() {
        all += tables[table].len();
        table += 1;
    }
    all
}

/// The rows of some tables, one table behind the other. As a constant that has another number of rows than they have, it does not build.
#[must_use]
pub const fn joined<T: Copy, const N: usize>(tables: &[&[T]]) -> [T; N] {
    let mut first = 0;
    while tables[first].is_empty() {
        first += 1;
    }
    let mut all = [tables[first][0]; N];
    let (mut filled, mut table) = (0, 0);
    while table < tables.len() {
        let mut row = 0;
        while row < tables[table].len() {
            all[filled] = tables[table][row];
            (filled, row) = (filled + 1, row + 1);
        }
        table += 1;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::{joined, rows};

    #[test]
    fn tables_are_joined_in_order() {
        const TABLES: &[&[u8]] = &[&[], &[3, 1], &[2], &[]];
        const ROWS: [u8; rows(TABLES)] = joined(TABLES);
        assert_eq!(ROWS, [3, 1, 2]);
    }
}
