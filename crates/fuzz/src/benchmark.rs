//! Data sets that others made.

use std::fs;
use std::path::Path;

use anyhow::Context;
use mmlens_data::benchmark::{ReadError, Reader, Source};
use mmlens_data::rationale::gqa_rex::{Files, GqaRex};

use crate::{Outcome, Room};

/// A file of each layout, small and whole; of some a file that belongs to it.
const SEEDS: [(Reader, &str, Option<&str>); 11] = [
    (
        Reader::Pope,
        "{\"question_id\": 1, \"image\": \"a.jpg\", \"text\": \"Is there a cat?\", \"label\": \"yes\"}\n{\"question_id\": 2, \"image\": \"a.jpg\", \"text\": \"Is there a dog?\", \"label\": \"no\"}\n",
        None,
    ),
    (
        Reader::Vqa,
        "{\"data_subtype\": \"val2014\", \"questions\": [{\"image_id\": 1, \"question\": \"What?\", \"question_id\": 10}, {\"image_id\": 2, \"question\": \"How many?\", \"question_id\": 20}]}",
        Some(
            "{\"annotations\": [{\"question_id\": 20, \"answer_type\": \"number\", \"multiple_choice_answer\": \"2\", \"answers\": [{\"answer\": \"2\", \"answer_id\": 1}]}, {\"question_id\": 10, \"answers\": []}]}",
        ),
    ),
    (
        Reader::CocoCaptions,
        "{\"images\": [{\"id\": 1, \"file_name\": \"a.jpg\", \"width\": 4, \"height\": 3}], \"annotations\": [{\"id\": 1, \"image_id\": 1, \"caption\": \"a cat\"}]}",
        None,
    ),
    (
        Reader::CocoInstances,
        "{\"images\": [{\"id\": 1, \"file_name\": \"a.jpg\", \"width\": 4, \"height\": 3}], \"annotations\": [{\"image_id\": 1, \"category_id\": 7, \"bbox\": [0, 0, 2, 2], \"segmentation\": [[0, 0, 2, 0, 2, 2]], \"iscrowd\": 0}, {\"image_id\": 1, \"category_id\": 7, \"bbox\": [0, 0, 4, 3], \"segmentation\": {\"size\": [3, 4], \"counts\": \"03\\u0039\"}, \"iscrowd\": 1}, {\"image_id\": 1, \"category_id\": 7, \"bbox\": [0, 0, 4, 3], \"segmentation\": {\"size\": [3, 4], \"counts\": [0, 3, 9]}}], \"categories\": [{\"id\": 7, \"name\": \"cat\"}]}",
        None,
    ),
    (
        Reader::Valse,
        "{\"x\": {\"image_file\": \"1.jpg\", \"caption\": [\"a cat\"], \"foil\": \"a dog\", \"linguistic_phenomena\": \"n\", \"mturk\": {\"caption\": 3}}}",
        None,
    ),
    (
        Reader::Tsv,
        "index\tquestion\tA\tB\tanswer\timage\n0\t\"What is \"\"this\"\"?\"\tcat\tdog\tB\tiVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGNgYGAAAAAEAAH2FzhVAAAAAElFTkSuQmCC\n1\tAnd?\t\t\tno\t0\n",
        None,
    ),
    (
        Reader::Llava,
        "[{\"id\": \"1\", \"image\": \"a.jpg\", \"conversations\": [{\"from\": \"human\", \"value\": \"<image>\\nWhat?\"}, {\"from\": \"gpt\", \"value\": \"A cat.\"}]}]",
        None,
    ),
    (
        Reader::LlavaQuestions,
        "{\"question_id\": 7, \"image\": \"b.jpg\", \"text\": \"Why?\", \"category\": \"conv\"}\n",
        None,
    ),
    (
        Reader::Jsonl,
        "{\"id\": 3, \"image\": [\"a.png\"], \"question\": \"Which?\", \"answer\": [\"left\"], \"choices\": [\"left\", \"right\"]}\n",
        None,
    ),
    (Reader::Csv, "id,image,question,answer\n3,a.png,\"Which, \"\"now\"\"?\",left\n", None),
    (Reader::Parquet, "", None),
];

/// Every layout, behind a byte that says which.
pub(crate) fn seeds(_: &Room) -> anyhow::Result<Vec<Vec<u8>>> {
    let parquet = mmlens_testkit::fixtures().join("benchmark/own.parquet");
    let parquet = fs::read(&parquet).with_context(|| parquet.display().to_string())?;
    let seed = |(i, (reader, text, _)): (usize, &(Reader, &str, Option<&str>))| {
        let bytes = if *reader == Reader::Parquet { parquet.as_slice() } else { text.as_bytes() };
        [&[i as u8][..], bytes].concat()
    };
    Ok(SEEDS.iter().enumerate().map(seed).collect())
}

/// Reads every item, in order and back again, and rasterises what is marked.
fn read(source: &Source) -> Result<(), ReadError> {
    let items = source.open()?;
    let count = items.len().min(64);
    for index in (0..count).chain((0..count).rev()) {
        let item = items.item(index)?;
        for marked in &item.marked {
            if let (Some(outline), Some([width, height])) = (&marked.outline, item.size)
                && width.saturating_mul(height) < 1 << 16
            {
                drop(outline.pixels([width, height]));
            }
        }
        item.pictures
            .iter()
            .filter(|shown| shown.name().len() < 9)
            .take(2)
            .for_each(|shown| drop(shown.open()));
    }
    Ok(())
}

/// Opens a data set of which one file was replaced: the first bit of what chooses says which, where there are two.
pub(crate) fn once(room: &Room, bytes: &[u8]) -> anyhow::Result<Outcome> {
    let Some((which, contents)) = bytes.split_first() else { return Ok(Outcome::Accepted) };
    let (reader, _, beside) = &SEEDS[usize::from(*which) % SEEDS.len()];
    let mut source = Source::new(*reader, room.file("data.json", contents)?);
    if let Some(beside) = beside {
        source.beside = Some(room.file("beside.json", beside.as_bytes())?);
    }
    Ok(match read(&source) {
        Ok(()) => Outcome::Accepted,
        Err(error) => Outcome::Refused(error.to_string()),
    })
}

/// A folder as MME lays it out, with this text for a task.
pub(crate) fn mme_seeds(_: &Room) -> anyhow::Result<Vec<Vec<u8>>> {
    Ok(vec![b"\x00a.png\tIs it red?\tYes\na.png\tIs it blue?\tNo\tno\n".to_vec()])
}

/// See [`mme_seeds`].
pub(crate) fn mme_once(room: &Room, bytes: &[u8]) -> anyhow::Result<Outcome> {
    let folder = room.path().join("mme");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("task.txt"), bytes.get(1..).unwrap_or_default())?;
    Ok(match read(&Source::new(Reader::Mme, Path::new(&folder))) {
        Ok(()) => Outcome::Accepted,
        Err(error) => Outcome::Refused(error.to_string()),
    })
}

/// The files of GQA-REX: explanations, questions, scene graphs, detected boxes.
const REX: [(&str, &str); 3] = [
    ("explanations.json", "{\"1\": \"(obj:50) is near (obj*:cat) and #0 at @6, (0.1,0.2)\", \"2\": \"\"}"),
    (
        "questions.json",
        "{\"2\": {\"imageId\": \"9\", \"question\": \"Why?\", \"answer\": \"no\"}, \"1\": {\"imageId\": \"9\", \"question\": \"Is it?\", \"answer\": \"yes\"}}",
    ),
    (
        "graphs.json",
        "{\"9\": {\"width\": 8, \"height\": 4, \"objects\": {\"50\": {\"name\": \"dog\", \"x\": 1, \"y\": 1, \"w\": 2, \"h\": 2}}}}",
    ),
];
/// The fourth file: detected boxes of the picture.
const BOXES: &str = "9.npy";

/// Boxes as NumPy saves them: two.
fn detected() -> Vec<u8> {
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 4), }\n";
    let numbers = [0.0_f32, 1.0, 2.0, 3.0, 1.0, 1.0, 4.0, 4.0];
    let data: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), &data].concat()
}

/// All four, by name.
fn rex() -> Vec<(&'static str, Vec<u8>)> {
    let texts = REX.iter().map(|(name, text)| (*name, text.as_bytes().to_vec()));
    texts.chain([(BOXES, detected())]).collect()
}

/// Each file, behind a byte that says which.
pub(crate) fn rex_seeds(_: &Room) -> anyhow::Result<Vec<Vec<u8>>> {
    Ok(rex().iter().enumerate().map(|(at, (_, bytes))| [&[at as u8][..], bytes].concat()).collect())
}

/// Reads every explanation of a data set of which one file was replaced.
pub(crate) fn rex_once(room: &Room, bytes: &[u8]) -> anyhow::Result<Outcome> {
    let Some((which, contents)) = bytes.split_first() else { return Ok(Outcome::Accepted) };
    let all = rex();
    for (at, (name, whole)) in all.iter().enumerate() {
        room.file(name, if at == usize::from(*which) % all.len() { contents } else { whole })?;
    }
    let [explanations, questions, scene_graphs] = [0, 1, 2].map(|at| room.path().join(REX[at].0));
    let files = Files { explanations, questions, scene_graphs, boxes: Some(room.path().to_owned()) };
    let read = || -> Result<(), ReadError> {
        let set = GqaRex::open(&files)?;
        (0..set.len().min(64)).try_for_each(|index| set.rationale(index).map(drop))
    };
    Ok(match read() {
        Ok(()) => Outcome::Accepted,
        Err(error) => Outcome::Refused(error.to_string()),
    })
}

/// A list of synonyms, and a caption under it.
pub(crate) fn synonyms_seeds(_: &Room) -> anyhow::Result<Vec<Vec<u8>>> {
    Ok(vec![b"\x00person, man, woman\nhot dog\ntoilet\nchair, seat\n".to_vec()])
}

/// See [`synonyms_seeds`].
pub(crate) fn synonyms_once(room: &Room, bytes: &[u8]) -> anyhow::Result<Outcome> {
    let contents = bytes.get(1..).unwrap_or_default();
    let path = room.file("synonyms.txt", contents)?;
    Ok(match mmlens_data::benchmark::Chair::open(path) {
        Ok(chair) => {
            // The list itself is a caption too, whatever it holds.
            let _ = chair.objects(&String::from_utf8_lossy(contents));
            Outcome::Accepted
        }
        Err(error) => Outcome::Refused(error.to_string()),
    })
}
