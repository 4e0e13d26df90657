//! What every subject says of itself in the same words.

use burn::tensor::Device;

/// The path of the kernels, on the device that they compute on.
pub(crate) fn kernels(device: &Device) -> Option<String> {
    (mmlens_core::device::kind(device) == "flex").then(|| mmlens_kernels::Path::taken().to_string())
}

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

        fn kernels(&self) -> Option<String> {
            crate::about::kernels(&self.device)
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

/// The methods of `Subject` that publish weights by name, from its fields `weights` and that of its network, which is named.
macro_rules! published {
    ($network:ident) => {
        fn weights(&self) -> &[mmlens_core::WeightSpec] {
            &self.weights
        }

        fn weight(&self, name: &str) -> Result<mmlens_core::AnyTensor, mmlens_core::SubjectError> {
            let named = self.$network.named().into_iter().find(|named| named.spec.name == name);
            named
                .and_then(|named| named.shaped())
                .ok_or_else(|| mmlens_core::SubjectError::no_weight(self, name))
        }
    };
}
pub(crate) use published;
