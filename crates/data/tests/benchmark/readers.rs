//! Every layout as it is handed out, and what is said of one that is not so.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mmlens_data::benchmark::{Item, Items, Map, Outline, ReadError, Reader, Shown, Source};
use proptest::prelude::*;
use serde_json::json;
use tempfile::TempDir;

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn source(reader: Reader, folder: &TempDir, name: &str) -> Source {
    Source::new(reader, folder.path().join(name))
}

fn all(items: &dyn Items) -> Vec<Item> {
    items.iter().collect::<Result<_, _>>().unwrap()
}

fn file(folder: &TempDir, name: &str) -> Shown {
    Shown::File(folder.path().join(name))
}

/// What is said of the first item that is wrong, behind the name of the file.
fn said(source: &Source) -> String {
    let read = || -> Result<(), ReadError> {
        let items = source.open()?;
        (0..items.len()).try_for_each(|index| items.item(index).map(drop))
    };
    let text = read().unwrap_err().to_string();
    let at = text.find(source.data.file_name().unwrap().to_str().unwrap());
    at.map_or(text.clone(), |at| text[at..].to_owned())
}

fn texts(all: &[&str]) -> Vec<String> {
    all.iter().map(ToString::to_string).collect()
}

#[test]
fn pope() {
    let text = "{\"question_id\": 1, \"image\": \"a.jpg\", \"text\": \"Is there a cat in the image?\", \"label\": \"yes\"}\r\n\n\
                {\"question_id\": 2, \"image\": \"a.jpg\", \"text\": \"Is there a dog in the image?\", \"label\": \"no\", \"category\": \"random\"}";
    let folder = folder(&[("pope.json", text)]);
    let mut source = source(Reader::Pope, &folder, "pope.json");
    source.images = Some("pictures".into());
    let items = all(&*source.open().unwrap());
    let second = Item {
        id: "2".to_owned(),
        pictures: vec![Shown::File("pictures/a.jpg".into())],
        question: Some("Is there a dog in the image?".to_owned()),
        answers: texts(&["no"]),
        label: Some("no".to_owned()),
        group: "a.jpg".to_owned(),
        extra: [("category".to_owned(), json!("random"))].into(),
        ..Item::default()
    };
    assert_eq!((items.len(), &items[1]), (2, &second));

    // The third line is the second item: an empty one stands between.
    for (right, wrong, expected) in [
        ("\"no\"", "\"maybe\"", "field `label`: `maybe`; expected `yes` or `no`"),
        ("\"no\"", "7", "field `label`: 7; expected a text"),
        ("\"question_id\": 2, ", "", "field `question_id`: nothing; expected a text or a whole number"),
        (
            "\"question_id\": 2",
            "\"question_id\": 2.5",
            "field `question_id`: 2.5; expected a text or a whole number",
        ),
        ("\"random\"}", "\"random\"", "EOF while parsing an object; expected an object of JSON"),
        (
            "{\"question_id\": 2",
            "[{\"question_id\": 2",
            "EOF while parsing a list; expected an object of JSON",
        ),
    ] {
        fs::write(&source.data, text.replace(right, wrong)).unwrap();
        assert_eq!(said(&source), format!("pope.json, line 3: {expected}"));
    }
}

const QUESTIONS: &str = r#"{"info": {"version": "2.0, {not} [a] list"}, "data_type": "mscoco", "data_subtype": "val2014", "questions":
[{"image_id": 42, "question": "What is this?", "question_id": 420},
 {"image_id": 7, "question": "How many?", "question_id": 71}], "license": {}}"#;

fn annotation(question: u64, image: u64, answers: &[&str]) -> String {
    let answers: Vec<_> = (1..)
        .zip(answers)
        .map(|(id, answer)| json!({"answer": answer, "answer_confidence": "yes", "answer_id": id}))
        .collect();
    json!({"question_type": "what", "multiple_choice_answer": "cat", "answers": answers, "image_id": image,
           "answer_type": "other", "question_id": question})
    .to_string()
}

#[test]
fn vqa() {
    let (first, second) = (annotation(420, 42, &["cat", "a cat"]), annotation(71, 7, &["2"]));
    for order in [[&first, &second], [&second, &first]] {
        let annotations = format!("{{\"annotations\": [{},\n{}], \"license\": {{}}}}", order[0], order[1]);
        let folder = folder(&[("q.json", QUESTIONS), ("a.json", &annotations)]);
        let mut source = source(Reader::Vqa, &folder, "q.json");
        source.beside = Some(folder.path().join("a.json"));
        let items = all(&*source.open().unwrap());
        assert_eq!(items.len(), 2);
        assert_eq!(items[0].pictures, [file(&folder, "COCO_val2014_000000000042.jpg")]);
        assert_eq!((items[0].id.as_str(), items[0].group.as_str()), ("420", "42"));
        assert_eq!(items[0].answers, ["cat", "a cat"]);
        assert_eq!(items[1].answers, ["2"]);
        assert_eq!((items[1].task.as_deref(), items[1].label.as_deref()), (Some("other"), Some("cat")));
        assert_eq!(items[1].question.as_deref(), Some("How many?"));
    }
    // One of them is of a question that is not asked.
    let annotations = format!("{{\"annotations\": [{first},\n{}]}}", annotation(99, 7, &["2"]));
    let folder = folder(&[("q.json", QUESTIONS), ("a.json", &annotations)]);
    let mut source = source(Reader::Vqa, &folder, "q.json");
    source.beside = Some(folder.path().join("a.json"));
    let text = source.open().unwrap().item(1).unwrap_err().to_string();
    assert!(
        text.ends_with("a.json, line 1: field `question_id`: 0 annotations of question 71; expected one"),
        "{text}"
    );
    fs::write(&source.data, QUESTIONS.replace("\"data_subtype\": \"val2014\", ", "")).unwrap();
    assert_eq!(
        said(&source),
        "q.json, line 1: field `data_subtype`: nothing; expected a text such as `val2014`"
    );
    fs::write(&source.data, QUESTIONS.replace("\"questions\"", "\"tasks\"")).unwrap();
    assert_eq!(said(&source), "q.json, line 3: field `questions`: nothing; expected a list");
    fs::write(&source.data, QUESTIONS.replace("\"image_id\": 7", "\"image_id\": -7")).unwrap();
    assert_eq!(said(&source), "q.json, line 3: field `image_id`: -7; expected a whole number, not negative");
    fs::write(&source.data, &QUESTIONS[..QUESTIONS.len() - 40]).unwrap();
    assert!(said(&source).starts_with("q.json, line 3: the end of the file; expected"), "{}", said(&source));
    // The test questions of two sets share the pictures of one.
    fs::write(&source.data, QUESTIONS.replace("val2014", "test-dev2015")).unwrap();
    source.beside = None;
    let item = source.open().unwrap().item(0).unwrap();
    assert_eq!(item.pictures, [file(&folder, "COCO_test2015_000000000042.jpg")]);
    assert!(item.answers.is_empty());
}

const PICTURES: &str = r#""images": [{"id": 5, "file_name": "e.jpg", "width": 4, "height": 3, "date_captured": "x"}, {"id": 3, "file_name": "c.jpg", "width": 2, "height": 2}]"#;

#[test]
fn coco() {
    let captions = format!(
        "{{\"annotations\": [{{\"image_id\": 3, \"id\": 1, \"caption\": \"a cat\"}}, {{\"image_id\": 5, \"id\": 2, \"caption\": \"a dog\"}},\n{{\"image_id\": 3, \"id\": 3, \"caption\": \"a kitten\"}}], {PICTURES}}}"
    );
    let instances = format!(
        "{{{PICTURES}, \"annotations\": [{{\"image_id\": 3, \"id\": 9, \"category_id\": 17, \"bbox\": [0, 0.5, 1, 1.5], \"area\": 2, \"iscrowd\": 0, \"segmentation\": [[0, 0, 1, 0, 1, 2, 0, 2]]}}, {{\"image_id\": 5, \"id\": 8, \"category_id\": 18, \"bbox\": [0, 0, 4, 3], \"iscrowd\": 1, \"segmentation\": {{\"size\": [3, 4], \"counts\": [0, 3, 9]}}}}], \"categories\": [{{\"id\": 17, \"name\": \"cat\", \"supercategory\": \"animal\"}}, {{\"id\": 18, \"name\": \"dog\"}}]}}"
    );
    let folder = folder(&[("captions.json", &captions), ("instances.json", &instances)]);
    let mut source = source(Reader::CocoCaptions, &folder, "captions.json");
    let alone = all(&*source.open().unwrap());
    source.beside = Some(folder.path().join("instances.json"));
    let both = all(&*source.open().unwrap());
    source = Source::new(Reader::CocoInstances, folder.path().join("instances.json"));
    let instances = all(&*source.open().unwrap());
    assert_eq!(both.iter().map(|item| item.id.as_str()).collect::<Vec<_>>(), ["5", "3"]);
    assert_eq!(both[0].pictures, [file(&folder, "e.jpg")]);
    assert_eq!((both[0].size, both[0].group.as_str()), (Some([4, 3]), "5"));
    for item in 0..2 {
        assert_eq!(alone[item].captions, both[item].captions);
        assert_eq!(instances[item].marked, both[item].marked);
        assert!(alone[item].marked.is_empty() && instances[item].captions.is_empty());
    }
    assert_eq!(both[1].captions, ["a cat", "a kitten"]);
    let cat = &both[1].marked[0];
    assert_eq!((cat.name.as_str(), cat.bbox, cat.crowd), ("cat", [0.0, 0.5, 1.0, 1.5], false));
    // The left one of two columns.
    assert_eq!(cat.outline.as_ref().unwrap().pixels([2, 2]), [true, false, true, false]);
    let dog = &both[0].marked[0];
    assert!(dog.crowd);
    assert_eq!(dog.outline, Some(Outline::Runs { size: [4, 3], counts: vec![0, 3, 9] }));
    let text = fs::read_to_string(&source.data).unwrap();
    fs::write(&source.data, text.replace("\"category_id\": 18", "\"category_id\": 19")).unwrap();
    assert_eq!(
        said(&source),
        "instances.json, line 1: field `category_id`: 19; expected one of the categories"
    );
    fs::write(&source.data, text.replace("[0, 3, 9]", "[0, 3, 8]")).unwrap();
    assert_eq!(
        said(&source),
        "instances.json, line 1: field `segmentation`: runs of 11 pixels; expected as many as the picture has"
    );
}

#[test]
fn mme_for_the_script() {
    let lines = "a.png\tIs it red? Please answer yes or no.\tYes\na.png\tIs it blue? Please answer yes or no.\tNo\tno\n\
                 b.png\tIs it red?\tNo\nb.png\tIs it blue?\tYes\n";
    let folder = folder(&[
        ("color.txt", lines),
        ("count.txt", "c.png\tOne?\tYes\nc.png\tTwo?\tNo\n"),
        ("readme.md", ""),
    ]);
    let mut source = Source::new(Reader::Mme, folder.path());
    source.images = Some("pictures".into());
    let items = all(&*source.open().unwrap());
    assert_eq!(items.len(), 6);
    assert_eq!(items[1].question.as_deref(), Some("Is it blue? Please answer yes or no."));
    assert_eq!(items[1].label.as_deref(), Some("no"));
    assert_eq!((items[3].group.as_str(), items[3].task.as_deref()), ("color/b.png", Some("color")));
    assert_eq!((items[5].id.as_str(), items[5].task.as_deref()), ("count/c.png/1", Some("count")));
    assert_eq!(items[5].pictures, [Shown::File("pictures/c.png".into())]);
    let color = folder.path().join("color.txt");
    for (wrong, expected) in [
        (
            lines.replacen("b.png", "d.png", 1),
            "color.txt, line 4: field `picture`: `b.png`; expected the picture of the line before",
        ),
        (
            lines.replace("\tYes\na", "\tYes?\na"),
            "color.txt, line 1: field `answer`: `Yes?`; expected `Yes` or `No`",
        ),
        (lines.replace("One?", ""), ""),
        (lines.replace("b.png\tIs it red?\tNo\n", ""), "color.txt, line 3: 3 lines; expected an even number"),
        (
            lines.replace("a.png\tIs it red", "a.png Is it red"),
            "color.txt, line 1: 2 cells; expected 3 between tabs: picture, question, answer",
        ),
    ] {
        fs::write(&color, wrong).unwrap();
        if !expected.is_empty() {
            let read = source.open().and_then(|items| items.iter().collect::<Result<Vec<_>, _>>());
            let text = read.unwrap_err().to_string();
            assert!(text.contains(expected), "{text}");
        }
    }
}

#[test]
fn mme_as_released() {
    let folder = folder(&[
        ("OCR/1.txt", "Is it A?\tYes\nIs it B?\tNo\n"),
        ("OCR/1.jpg", ""),
        ("scene/questions_answers_YN/2.txt", "Indoors?\tNo\nOutdoors?\tYes\n"),
        ("scene/images/2.png", ""),
    ]);
    let source = Source::new(Reader::Mme, folder.path());
    let items = all(&*source.open().unwrap());
    assert_eq!(
        items.iter().map(|item| item.id.as_str()).collect::<Vec<_>>(),
        ["OCR/1.jpg/0", "OCR/1.jpg/1", "scene/2.png/0", "scene/2.png/1"]
    );
    assert_eq!(items[0].pictures, [file(&folder, "OCR/1.jpg")]);
    assert_eq!(items[3].pictures, [file(&folder, "scene/images/2.png")]);
    assert_eq!((items[3].question.as_deref(), items[3].label.as_deref()), (Some("Outdoors?"), Some("yes")));
    fs::remove_file(folder.path().join("OCR/1.jpg")).unwrap();
    let text = source.open().unwrap().item(0).unwrap_err().to_string();
    assert!(text.contains("1.txt, line 1: no picture `1` in"), "{text}");
    let empty = Source::new(Reader::Mme, folder.path().join("scene/images"));
    assert!(empty.open().err().unwrap().to_string().starts_with("reader `mme`: no task in"));
}

#[test]
fn valse() {
    let entry = |caption: u64, foil: &str| {
        json!({"dataset": "FOIL", "original_split": "test", "dataset_idx": 1, "linguistic_phenomena": "noun phrases",
               "image_file": "1.jpg", "caption": "a cat sits.", "foil": foil, "classes": "cat", "classes_foil": "dog",
               "mturk": {"caption": caption, "foil": 3 - caption, "other": 0}})
    };
    let text = format!(
        "{{\"one\": {},\n\"two\\u0021\": {},\n\"three\": {}}}",
        entry(3, "a dog sits."),
        entry(1, "x"),
        entry(2, "a pig sits.")
    );
    let folder = folder(&[("v.json", &text)]);
    let source = source(Reader::Valse, &folder, "v.json");
    let items = all(&*source.open().unwrap());
    // Of the second entry people did not agree.
    assert_eq!(items.iter().map(|item| item.id.as_str()).collect::<Vec<_>>(), ["one", "three"]);
    assert_eq!(
        (&items[1].captions[..], &items[1].foils[..]),
        (&texts(&["a cat sits."])[..], &texts(&["a pig sits."])[..])
    );
    assert_eq!(items[0].task.as_deref(), Some("noun phrases"));
    assert_eq!(items[0].extra["classes_foil"], "dog");
    fs::write(&source.data, text.replace("\"a pig sits.\"", "[\"a pig\", \"sits\"]")).unwrap();
    assert_eq!(said(&source), "v.json, line 3: field `foil`: 2 texts; expected one text");
    fs::write(&source.data, text.replace("\"a pig sits.\"", "null")).unwrap();
    assert_eq!(said(&source), "v.json, line 3: field `foil`: 0 texts; expected one text");
    fs::write(&source.data, text.replace("\"caption\":2,", "")).unwrap();
    assert_eq!(
        said(&source),
        "v.json, line 3: field `mturk.caption`: no count; expected how many people chose the caption"
    );
}

/// A picture of one pixel.
fn png() -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(1, 1).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

#[test]
fn tables_of_vlmevalkit() {
    let png = STANDARD.encode(png());
    assert!(png.len() > 64);
    let text = format!(
        "index\tquestion\thint\tA\tB\tanswer\tcategory\timage\n\
         0\t\"What is \"\"this\"\",\nsay?\"\tA hint\tcat\tdog\tB\tanimals\t{png}\n\
         1\tAnd here?\t\tcat\t\tA\tanimals\t0\n\
         1000001\tAnd here?\t\tdog\tcat\tB\tanimals\t0\n\
         2\tTwo?\t\t\t\tno\t\t\"['{png}', '{png}']\"\n"
    );
    let folder = folder(&[("t.tsv", &text)]);
    let source = source(Reader::Tsv, &folder, "t.tsv");
    let items = all(&*source.open().unwrap());
    assert_eq!(items[0].question.as_deref(), Some("A hint\nWhat is \"this\",\nsay?"));
    assert_eq!(items[0].choices, [("A".to_owned(), "cat".to_owned()), ("B".to_owned(), "dog".to_owned())]);
    assert_eq!((items[0].label.as_deref(), items[0].task.as_deref()), (Some("B"), Some("animals")));
    let bytes = STANDARD.decode(&png).unwrap();
    assert_eq!(items[0].pictures, [Shown::Bytes { name: "0".to_owned(), bytes: bytes.clone() }]);
    assert_eq!(items[0].pictures[0].open().unwrap().image.width(), 1);
    // Rows without a picture of their own have that of row 0.
    assert_eq!((&items[1].pictures, &items[2].pictures), (&items[0].pictures, &items[0].pictures));
    assert_eq!((items[1].choices.len(), items[1].group.as_str(), items[2].group.as_str()), (1, "1", "1"));
    assert_eq!(items[3].pictures.len(), 2);
    assert_eq!(items[3].pictures[1], Shown::Bytes { name: "2.1".to_owned(), bytes });

    // The first row takes two lines.
    fs::write(&source.data, text.replacen("animals\t0", "animals\t7", 1)).unwrap();
    assert_eq!(
        said(&source),
        "t.tsv, line 4: field `image`: `7`; expected a picture as base64, or the index of a row with one"
    );
    fs::write(&source.data, text.replace("\t\tdog\tcat", "\tdog\tcat")).unwrap();
    assert_eq!(said(&source), "t.tsv, line 5: 7 cells; expected 8, as many as columns");
    fs::write(&source.data, text.replace("\n1\t", "\nx\t")).unwrap();
    assert_eq!(said(&source), "t.tsv, line 4: field `index`: `x`; expected a whole number");
    fs::write(&source.data, text.replace("index\t", "id\t")).unwrap();
    assert_eq!(said(&source), "t.tsv, line 1: field `index`: no such column; expected one");
    fs::write(&source.data, text.replace("say?\"", "say?")).unwrap();
    assert!(said(&source).starts_with("t.tsv, line 2: "), "{}", said(&source));

    fs::write(&source.data, "index\tquestion\timage_path\n5\tQ\tsub/a.png\n6\tR\t['b.png', 'c.png']\n")
        .unwrap();
    let items = all(&*source.open().unwrap());
    assert_eq!(items[0].pictures, [file(&folder, "sub/a.png")]);
    assert_eq!(items[1].pictures, [file(&folder, "b.png"), file(&folder, "c.png")]);
}

#[test]
fn llava() {
    let text = r#"[{"id": "x1", "image": "a.jpg", "conversations": [{"from": "human", "value": "<image>\nWhat is this?"}, {"from": "gpt", "value": "A cat."}, {"from": "human", "value": "Sure?"}, {"from": "gpt", "value": "Yes."}]},
{"id": 2, "conversations": [{"from": "human", "value": "Hello"}]}]"#;
    let folder = folder(&[
        ("c.json", text),
        (
            "q.jsonl",
            "{\"question_id\": 7, \"image\": \"sub/b.jpg\", \"text\": \"Why?\", \"category\": \"conv\"}\n",
        ),
    ]);
    let source = source(Reader::Llava, &folder, "c.json");
    let items = all(&*source.open().unwrap());
    assert_eq!(
        (items[0].question.as_deref(), &items[0].answers[..]),
        (Some("What is this?"), &texts(&["A cat."])[..])
    );
    assert_eq!(items[0].extra["later turns"].as_array().unwrap().len(), 2);
    assert_eq!((items[1].id.as_str(), items[1].pictures.len(), items[1].answers.len()), ("2", 0, 0));
    let questions = Source::new(Reader::LlavaQuestions, folder.path().join("q.jsonl"));
    let item = questions.open().unwrap().item(0).unwrap();
    assert_eq!(
        (item.id.as_str(), item.question.as_deref(), item.task.as_deref()),
        ("7", Some("Why?"), Some("conv"))
    );
    assert_eq!((item.group.as_str(), &item.pictures[..]), ("sub/b.jpg", &[file(&folder, "sub/b.jpg")][..]));
    fs::write(
        &source.data,
        text.replace("\"from\": \"gpt\", \"value\": \"A", "\"from\": \"bot\", \"value\": \"A"),
    )
    .unwrap();
    assert_eq!(said(&source), "c.json, line 1: field `conversations.1.from`: `bot`; expected `gpt`");
    fs::write(&source.data, text.replace("\"Hello\"", "[]")).unwrap();
    assert_eq!(said(&source), "c.json, line 2: field `conversations.0.value`: a list of 0; expected a text");
    fs::write(&source.data, text.replace("}]},\n", "}]}\n")).unwrap();
    assert_eq!(said(&source), "c.json, line 2: `{`; expected `,` or `]`");
}

#[test]
fn ones_own_lines_and_tables() {
    let json = "{\"qid\": 3, \"picture\": [\"a.png\", \"b.png\"], \"question\": \"Which?\", \"truth\": [\"left\", \"the left\"], \"choices\": [\"left\", \"right\"], \"more\": 1}\n";
    let table = "qid,picture,question,truth\n3,a.png,\"Which, \"\"now\"\"?\",left\n";
    let folder = folder(&[
        ("o.jsonl", json),
        ("o.csv", table),
        ("o.tsv", &table.replace("Which, ", "Which ").replace(',', "\t")),
    ]);
    let map: Map = "id=qid, image=picture,answer=truth".parse().unwrap();
    let open = |reader, name: &str, map: &Map| Source { map: map.clone(), ..source(reader, &folder, name) };
    let item = open(Reader::Jsonl, "o.jsonl", &map).open().unwrap().item(0).unwrap();
    assert_eq!(item.pictures, [file(&folder, "a.png"), file(&folder, "b.png")]);
    assert_eq!(
        (item.id.as_str(), &item.answers[..], item.label.as_deref()),
        ("3", &texts(&["left", "the left"])[..], None)
    );
    assert_eq!(item.choices[1], ("B".to_owned(), "right".to_owned()));
    assert_eq!((item.group.as_str(), &item.extra["more"]), ("a.png", &json!(1)));
    let csv = open(Reader::Csv, "o.csv", &map);
    let of_csv = csv.open().unwrap().item(0).unwrap();
    assert_eq!(
        (of_csv.question.as_deref(), of_csv.label.as_deref()),
        (Some("Which, \"now\"?"), Some("left"))
    );
    let of_tsv = open(Reader::Csv, "o.tsv", &map).open().unwrap().item(0).unwrap();
    assert_eq!(of_tsv.question.as_deref(), Some("Which \"now\"?"));

    let other: Map = "id=number".parse().unwrap();
    assert_eq!(
        said(&open(Reader::Csv, "o.csv", &other)),
        "o.csv, line 1: field `number`: no such column; expected one of qid, picture, question, truth"
    );
    assert_eq!(
        said(&open(Reader::Jsonl, "o.jsonl", &other)),
        "o.jsonl, line 1: field `number`: nothing; expected a value: the map names it"
    );
    for wrong in ["picture", "colour=x", "id=", "id=a,id=b"] {
        let text = wrong.parse::<Map>().unwrap_err().to_string();
        assert!(text.contains("is no map of columns; expected ROLE=COLUMN"), "{text}");
    }
    let mut pope = open(Reader::Pope, "o.jsonl", &map);
    assert_eq!(
        pope.open().err().unwrap().to_string(),
        "reader `pope`: a map of columns; expected none: its columns are known"
    );
    (pope.map, pope.beside) = (Map::default(), Some("x".into()));
    assert_eq!(pope.open().err().unwrap().to_string(), "reader `pope`: x beside it; expected one file");
    assert!(
        "popes"
            .parse::<Reader>()
            .unwrap_err()
            .to_string()
            .starts_with("there is no reader `popes`; there are pope, vqa")
    );
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../oracles/fixtures/benchmark")
}

#[test]
fn ones_own_parquet() {
    // Written by pyarrow (oracles/benchmark.py): 40 rows in groups of 16, packed with Snappy.
    let map: Map = "id=qid,answer=truth".parse().unwrap();
    let source = Source { map, ..Source::new(Reader::Parquet, fixtures().join("own.parquet")) };
    let items = source.open().unwrap();
    assert_eq!(items.len(), 40);
    let check = |index: usize| {
        let item = items.item(index).unwrap();
        assert_eq!((item.id, item.question), (format!("{}", 100 + index), Some(format!("what is {index}?"))));
        // Every third has no answer; a picture's name is its path, and its only pixel has the level of its row.
        let truth = (!index.is_multiple_of(3)).then(|| format!("answer {index}"));
        assert_eq!(item.label, truth);
        let picture = item.pictures[0].open().unwrap();
        assert_eq!(
            (picture.name.as_str(), picture.image.to_rgb8()[(0, 0)].0),
            (&*format!("{index}.png"), [index as u8; 3])
        );
        assert_eq!(item.extra["weight"], json!(index as f64 / 4.0));
    };
    (0..40).chain([39, 3, 4, 17, 16, 0]).for_each(check);
    assert!(items.item(40).is_err());

    let lists = Source::new(Reader::Parquet, fixtures().join("lists.parquet"));
    assert!(said(&lists).contains("a list or a map; expected one value"), "{}", said(&lists));
    let folder = tempfile::tempdir().unwrap();
    let bytes = fs::read(&source.data).unwrap();
    for cut in [0, 3, 4, 100, bytes.len() / 2, bytes.len() - 5] {
        fs::write(folder.path().join("p.parquet"), &bytes[..cut]).unwrap();
        let cut = Source::new(Reader::Parquet, folder.path().join("p.parquet"));
        assert!(said(&cut).contains("expected a Parquet file"), "{}", said(&cut));
    }
}

#[test]
fn what_is_no_file_of_its_kind() {
    let folder = folder(&[("d.json", "{\"a\": 1}"), ("e.json", ""), ("n.json", &"[".repeat(1000))]);
    let of = |reader, name: &str| said(&source(reader, &folder, name));
    assert_eq!(
        of(Reader::Llava, "e.json"),
        "e.json, line 1: the end of the file; expected a list or an object of JSON"
    );
    assert_eq!(
        of(Reader::Llava, "n.json"),
        "n.json, line 1: a value nested more than 127 deep; expected less"
    );
    assert_eq!(of(Reader::Llava, "d.json"), "d.json, line 1: 1; expected an object of JSON");
    assert_eq!(
        of(Reader::Csv, "e.json"),
        "e.json, line 1: nothing; expected a row with the names of the columns"
    );
    assert_eq!(all(&*source(Reader::Pope, &folder, "e.json").open().unwrap()), []);
    assert!(of(Reader::Pope, "none.json").starts_with("none.json: "));
    let text = Source::new(Reader::Pope, folder.path()).open().err().unwrap().to_string();
    assert!(text.ends_with("it is a folder, expected a regular file"), "{text}");
    let pope = source(Reader::Pope, &folder, "e.json").open().unwrap();
    assert!(pope.item(0).unwrap_err().to_string().ends_with("there is no item 0; it has 0"));
}

/// Any text in a cell or a field, as a writer of that format puts it.
fn lines(texts: &[String]) -> [(Reader, String); 3] {
    let json: String = texts.iter().map(|text| json!({"question": text}).to_string() + "\n").collect();
    let list = format!(
        "[{}]",
        texts
            .iter()
            .map(|text| json!({"conversations": [{"from": "human", "value": text}]}).to_string())
            .collect::<Vec<_>>()
            .join(" ,\n")
    );
    let mut table = csv::Writer::from_writer(Vec::new());
    table.write_record(["question", "n"]).unwrap();
    for text in texts {
        table.write_record([text, "1"]).unwrap();
    }
    [
        (Reader::Jsonl, json),
        (Reader::Llava, list),
        (Reader::Csv, String::from_utf8(table.into_inner().unwrap()).unwrap()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What is written is read, whatever stands in it, in any order.
    #[test]
    fn any_text_comes_back(texts in prop::collection::vec("[a-z\"',\\[\\]{}\\\\\n\t:\u{e4} ]{1,12}x", 1..150), at in prop::collection::vec(any::<prop::sample::Index>(), 1..20)) {
        let folder = tempfile::tempdir().unwrap();
        for (reader, text) in lines(&texts) {
            let path = folder.path().join("t");
            fs::write(&path, text).unwrap();
            let items = Source::new(reader, &path).open().unwrap();
            prop_assert_eq!(items.len(), texts.len());
            for index in at.iter().map(|at| at.index(texts.len())).chain(0..texts.len()) {
                let read = items.item(index).unwrap().question.unwrap();
                let wanted = if reader == Reader::Llava { texts[index].trim() } else { texts[index].as_str() };
                prop_assert_eq!(&read, wanted);
            }
        }
    }
}
