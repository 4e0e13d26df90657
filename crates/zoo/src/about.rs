//! What every subject says of itself in the same words.

/// The methods of `Subject` that say what a subject is, from its fields `name`, `checkpoint`, `device`, `sites` and `anatomy`.
macro_rules! about {
    () => {
        fn name(&self) -> &str {
            &self.name
        }

        fn weights_hash(&self) -> String {
            self.checkpoint.hash_or_reason()
        }

        fn device(&self) -> String {
            mmlens_core::device::kind(&self.device)
        }

        fn sites(&self) -> &[mmlens_core::SiteSpec] {
            &self.sites
        }

        fn anatomy(&self) -> &[mmlens_core::Anatomy] {
            &self.anatomy
        }
    };
}
pub(crate) use about;
