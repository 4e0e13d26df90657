//! What every subject must keep: an empty plan changes no bit, nor does writing back; every site is reached; passes resume;
//! rows do not mix; bad inputs and bad plans are errors.

use burn::tensor::Device;
use mmlens::core::{Picture, Sample};
use mmlens_testkit::{checkpoint, picture, subject_breaches};

pub(crate) fn holds(device: &Device) {
    let square = || Picture::open(picture("square")).unwrap();
    for (folder, sample) in
        [("llava-a", Sample::ask(square(), "Red?")), ("gpt2-a", Sample::prompt(vec![], "It is red."))]
    {
        let subject = mmlens::zoo::open(checkpoint(folder), device).unwrap();
        let inputs = subject.encode(&sample).unwrap();
        let breaches = subject_breaches(subject.as_ref(), &inputs);
        assert!(breaches.is_empty(), "{folder}:\n{}", breaches.join("\n"));
    }
}
