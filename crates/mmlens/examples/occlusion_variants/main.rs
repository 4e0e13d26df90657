//! Throwaway.
mod evidence;
fn main() -> anyhow::Result<()> {
    let model = mmlens::zoo::shipped::shapes(&Default::default())?;
    evidence::measure(&model, &mmlens::data::shapes::World::new(1), 60)
}
