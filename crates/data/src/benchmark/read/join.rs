//! Records by a number that they carry, from a file in whatever order.

/// Which records carry which number, 12 bytes for each.
#[derive(Debug, Default)]
pub(crate) struct Join {
    ids: Vec<u64>,
    records: Vec<u32>,
}

impl Join {
    /// Records with their numbers; of those with the same number the order stays.
    pub(crate) fn of(mut pairs: Vec<(u64, u32)>) -> Self {
        pairs.sort_unstable();
        Self {
            ids: pairs.iter().map(|(id, _)| *id).collect(),
            records: pairs.iter().map(|(_, record)| *record).collect(),
        }
    }

    /// The records that carry a number, in the order of the file.
    pub(crate) fn get(&self, id: u64) -> &[u32] {
        let from = self.ids.partition_point(|other| *other < id);
        let to = self.ids.partition_point(|other| *other <= id);
        self.records.get(from..to).unwrap_or_default()
    }
}
