//! Data sets that others made.

use std::fs;
use std::path::Path;

use anyhow::Context;
use mmlens_data::benchmark::{ReadError, Reader, Source};

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
