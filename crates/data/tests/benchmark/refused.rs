//! What would turn into another value or be counted twice, and is refused: values of Parquet files, leftovers, names that stand twice.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use mmlens_data::benchmark::{Answer, Choice, Item, ReadError, Reader, Scorer, Shown, Source};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde_json::json;

fn said(reader: Reader, file: &Path) -> String {
    let source = Source::new(reader, file);
    let read = || -> Result<(), ReadError> {
        let items = source.open()?;
        (0..items.len()).try_for_each(|index| items.item(index).map(drop))
    };
    let text = read().unwrap_err().to_string();
    let name = file.file_name().unwrap().to_str().unwrap();
    text.find(name).map_or(text.clone(), |at| text[at..].to_owned())
}

/// A column of a Parquet file.
enum Column {
    Numbers(Vec<f64>),
    Bytes(Vec<Option<&'static [u8]>>, i16),
}

fn write(path: &Path, schema: &str, columns: &[Column]) {
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let plain = WriterProperties::builder().set_dictionary_enabled(false).build();
    let mut writer =
        SerializedFileWriter::new(fs::File::create(path).unwrap(), schema, Arc::new(plain)).unwrap();
    let mut group = writer.next_row_group().unwrap();
    for column in columns {
        let mut to = group.next_column().unwrap().unwrap();
        match column {
            Column::Numbers(numbers) => {
                to.typed::<DoubleType>().write_batch(numbers, Some(&vec![1; numbers.len()]), None).unwrap();
            }
            Column::Bytes(all, most) => {
                let values: Vec<ByteArray> =
                    all.iter().flatten().map(|bytes| bytes.to_vec().into()).collect();
                let levels: Vec<i16> =
                    all.iter().map(|one| if one.is_some() { *most } else { most - 1 }).collect();
                to.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None).unwrap();
            }
        }
        to.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
}

#[test]
fn values_of_parquet_stay_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.parquet");
    let open = || Source::new(Reader::Parquet, &path).open().unwrap();
    let schema = "message m { optional double label; optional double weight; optional binary question (UTF8);
        optional group image { optional binary bytes; optional binary path (UTF8); } optional binary more; }";
    let texts: [&[u8]; 2] = [b"what?", b"which?"];
    let columns = |label: f64, question: Option<&'static [u8]>| {
        [
            Column::Numbers(vec![f64::NAN, label]),
            Column::Numbers(vec![f64::INFINITY, 0.5]),
            Column::Bytes(vec![Some(texts[0]), question], 1),
            Column::Bytes(vec![None, Some(b"png")], 2),
            Column::Bytes(vec![Some(b"0.png"), Some(b"1.png")], 2),
            Column::Bytes(vec![Some(b"\xff\xfe"), Some(b"text")], 1),
        ]
    };
    write(&path, schema, &columns(f64::NAN, Some(texts[1])));
    let items: Vec<Item> = open().iter().collect::<Result<_, _>>().unwrap();
    // NaN says that there is none; without bytes the path counts.
    assert_eq!((items[0].label.as_deref(), items[0].question.as_deref()), (None, Some("what?")));
    assert_eq!(items[0].pictures, [Shown::File(folder.path().join("0.png"))]);
    assert_eq!(items[1].pictures, [Shown::Bytes { name: "1.png".to_owned(), bytes: b"png".to_vec() }]);
    assert_eq!(items[0].extra["weight"], json!("inf"));
    assert_eq!(items[0].extra["more"], json!("2 bytes that are no text in UTF-8"));
    assert_eq!((&items[1].extra["weight"], &items[1].extra["more"]), (&json!(0.5), &json!("text")));

    write(&path, schema, &columns(0.25, Some(texts[1])));
    assert_eq!(
        said(Reader::Parquet, &path),
        "p.parquet, row 2: field `label`: 0.25; expected a text or a whole number"
    );
    write(&path, schema, &columns(f64::INFINITY, Some(texts[1])));
    assert_eq!(
        said(Reader::Parquet, &path),
        "p.parquet, row 2: field `label`: inf; expected a text, a number or nothing"
    );
    write(&path, schema, &columns(f64::NAN, Some(b"\xc3(")));
    assert_eq!(
        said(Reader::Parquet, &path),
        "p.parquet, row 2: field `question`: bytes that are no text in UTF-8; expected a text, a number or nothing"
    );
    write(
        &path,
        "message m { optional binary question (UTF8); optional binary question (UTF8); }",
        &[Column::Bytes(vec![Some(b"a")], 1), Column::Bytes(vec![Some(b"b")], 1)],
    );
    assert_eq!(
        said(Reader::Parquet, &path),
        "p.parquet: field `question`: two columns of that name; expected one"
    );
}

#[test]
fn a_large_column_without_a_role_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.parquet");
    let large: &'static [u8] = Box::leak(vec![b'a'; (1 << 24) + 1].into_boxed_slice());
    for (name, kept) in [("junk", false), ("question", true)] {
        let schema = format!("message m {{ optional binary {name} (UTF8); optional binary small (UTF8); }}");
        write(&path, &schema, &[Column::Bytes(vec![Some(large)], 1), Column::Bytes(vec![Some(b"s")], 1)]);
        let item = Source::new(Reader::Parquet, &path).open().unwrap().item(0).unwrap();
        assert_eq!(item.question.map(|text| text.len()), kept.then_some(large.len()));
        assert_eq!(item.extra.keys().collect::<Vec<_>>(), ["small"]);
    }
}

#[test]
fn nothing_may_stand_behind_the_records() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("d.json");
    let of = |reader, text: &str| {
        fs::write(&path, text).unwrap();
        said(reader, &path)
    };
    let entry = r#""e1": {"image_file": "1.jpg", "caption": "a", "foil": "b"}"#;
    assert_eq!(
        of(Reader::Valse, &format!("{{{entry}}}\n{{\"e3\": ")),
        "d.json, line 2: `{`; expected the end of the file"
    );
    assert_eq!(
        of(Reader::Valse, &format!("{{{entry}}} x")),
        "d.json, line 1: `x`; expected the end of the file"
    );
    assert_eq!(of(Reader::Llava, "[]\n\n]"), "d.json, line 3: `]`; expected the end of the file");
    let question = r#"{"image_id": 1, "question": "a?", "question_id": 1}"#;
    let head = format!("{{\"data_subtype\": \"val2014\", \"questions\": [{question}]");
    assert_eq!(of(Reader::Vqa, &head), "d.json, line 1: the end of the file; expected `,` or `}`");
    assert_eq!(
        of(Reader::Vqa, &format!("{head}, \"license\"")),
        "d.json, line 1: the end of the file; expected `:`"
    );
    assert_eq!(
        of(Reader::Vqa, &format!("{head},\n\"questions\": []}}")),
        "d.json, line 2: a second field `questions`; expected one"
    );
    assert_eq!(
        of(Reader::Vqa, &format!("{head}}}\n{head}")),
        "d.json, line 2: `{`; expected the end of the file"
    );
    // White space may; and any record can be read after all have been.
    fs::write(&path, format!("{head}, \"license\": [1, {{}}]\n}} \n\n")).unwrap();
    let items = Source::new(Reader::Vqa, &path).open().unwrap();
    for _ in 0..2 {
        assert_eq!(items.item(0).unwrap().id, "1");
    }
}

#[test]
fn what_is_not_of_its_kind_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    };
    let coco = r#"{"images": [{"id": 1, "file_name": "1.jpg"}], "annotations": [], "categories": [{"id": 3, "name": "cat"},
{"id": 3, "name": "dog"}]}"#;
    assert_eq!(
        said(Reader::CocoInstances, &write("i.json", coco)),
        "i.json, line 2: field `id`: 3, as category `cat` has; expected a number of its own"
    );
    let questions = write(
        "q.json",
        r#"{"data_subtype": "val2014", "questions": [{"image_id": 1, "question": "a?", "question_id": 5}]}"#,
    );
    let annotations = write(
        "a.json",
        r#"{"annotations": [{"question_id": 5, "image_id": 2, "answers": [{"answer": "yes"}]}]}"#,
    );
    let vqa = Source { beside: Some(annotations), ..Source::new(Reader::Vqa, questions) };
    let error = vqa.open().unwrap().item(0).unwrap_err().to_string();
    assert!(
        error.ends_with("a.json, line 1: field `image_id`: 2; expected 1, the picture of question 5"),
        "{error}"
    );
    write("mme/existence.txt", "a.png\tIs it?\tYes\na.png\tIs it not?\tNo\n");
    write("mme/existence/b.txt", "Is it?\tYes\nIs it not?\tNo\n");
    let error = Source::new(Reader::Mme, folder.path().join("mme")).open().err().unwrap().to_string();
    assert!(error.starts_with("reader `mme`: two tasks `existence` in "), "{error}");
    let valse = r#"{"e": {"image_file": "1.jpg", "caption": "a cat", "foil": "a cat"}}"#;
    assert_eq!(
        said(Reader::Valse, &write("v.json", valse)),
        "v.json, line 1: field `foil`: the caption itself; expected another text"
    );
    let own = r#"{"caption": ["a", "b"], "foil": ["c", "b"]}"#;
    assert_eq!(
        said(Reader::Jsonl, &write("o.jsonl", own)),
        "o.jsonl, line 1: field `foil`: `b`, the caption itself; expected another text"
    );
    assert_eq!(
        said(Reader::Jsonl, &write("o.jsonl", r#"{"question": "a?", "answer": ["red", " "]}"#)),
        "o.jsonl, line 1: field `answer`: an empty text; expected a right answer, or none at all"
    );
    // A full stop is nothing after it is taken off.
    let item = Item { answers: vec![".".to_owned()], ..Item::default() };
    let error = Choice.judge(&item, &Answer::default()).unwrap_err().to_string();
    assert!(error.ends_with("an empty right answer; expected a text"), "{error}");
}

#[test]
fn words_ask_for_as_many_pictures_as_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.json");
    let of = |image: &str, first: &str, later: &str| {
        let turns = format!(
            r#"[{{"from": "human", "value": "{first}"}}, {{"from": "gpt", "value": "A"}}, {{"from": "human", "value": "{later}"}}]"#
        );
        fs::write(&path, format!(r#"[{{{image} "conversations": {turns}}}]"#)).unwrap();
        let item = Source::new(Reader::Llava, &path).open().unwrap().item(0);
        item.map(|item| item.pictures.len()).map_err(|error| error.to_string())
    };
    let one = r#""image": "a.jpg","#;
    assert_eq!(of(one, "<image> what?", "and?").unwrap(), 1);
    assert_eq!(of(one, "what?", "and?").unwrap(), 1);
    assert_eq!(of("", "what?", "and?").unwrap(), 0);
    assert_eq!(of(r#""image": ["a.jpg", "b.jpg"],"#, "<image> what?", "and <image>?").unwrap(), 2);
    for (image, first, later, expected) in [
        ("", "<image> what?", "and?", "0 of them; expected 1, as many as `<image>`"),
        (one, "<image><image> what?", "and?", "1 of them; expected 2, as many as `<image>`"),
        (one, "<image> what?", "and <image>?", "1 of them; expected 2, as many as `<image>`"),
        (
            r#""image": ["a.jpg", "b.jpg"],"#,
            "<image> what?",
            "",
            "2 of them; expected 1, as many as `<image>`",
        ),
    ] {
        let error = of(image, first, later).unwrap_err();
        assert!(error.ends_with(&format!("line 1: field `image`: {expected}")), "{error}");
    }
    let questions = folder.path().join("q.jsonl");
    fs::write(&questions, r#"{"question_id": 1, "text": "<image> what?"}"#).unwrap();
    assert_eq!(
        said(Reader::LlavaQuestions, &questions),
        "q.jsonl, line 1: field `image`: 0 of them; expected 1, as many as `<image>`"
    );
}
