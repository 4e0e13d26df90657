//! What is written is whole, goes nowhere else, and what cannot be written leaves everything as it was.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

// Not through `mmlens-testkit`, which needs Burn.
#[cfg(unix)]
#[allow(unreachable_pub, dead_code, reason = "a module of another crate")]
#[path = "../../testkit/src/read_only.rs"]
mod read_only;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use mmlens_files::{Journal, PARTIAL, RunFolder, Target, WriteError, write, write_tensors};
#[cfg(unix)]
use read_only::ReadOnly;
use safetensors::tensor::{Dtype, TensorView};

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn partial(file: &Path) -> PathBuf {
    PathBuf::from(format!("{}{PARTIAL}", file.display()))
}

#[test]
fn a_file_is_replaced_as_a_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a");
    write(&file, "one").unwrap();
    let failed = Target::new(&file).unwrap().write(|out| {
        out.write_all(b"half")?;
        Err(io::Error::other("the rest is missing"))
    });
    assert_eq!(
        failed.unwrap_err().to_string(),
        format!("cannot write {}: the rest is missing", file.display())
    );
    assert_eq!((fs::read(&file).unwrap(), names(folder.path())), (b"one".to_vec(), vec!["a".to_owned()]));
    write(&file, "two").unwrap();
    assert_eq!((fs::read(&file).unwrap(), names(folder.path())), (b"two".to_vec(), vec!["a".to_owned()]));
}

#[test]
fn what_a_killed_process_left_is_taken_over_and_what_another_writes_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a");
    fs::write(partial(&file), "left behind").unwrap();
    // Somebody's own file has a second name there, by chance or by malice: it is not written to.
    let own = folder.path().join("own");
    fs::write(&own, "own").unwrap();
    fs::remove_file(partial(&file)).unwrap();
    fs::hard_link(&own, partial(&file)).unwrap();
    write(&file, "whole").unwrap();
    assert_eq!((fs::read(&file).unwrap(), fs::read(&own).unwrap()), (b"whole".to_vec(), b"own".to_vec()));
    let target = Target::new(&file).unwrap();
    target
        .write(|out| {
            let second = write(&file, "second").unwrap_err();
            assert!(matches!(second, WriteError::Busy { .. }), "{second}");
            assert!(second.to_string().contains("it is being written already"), "{second}");
            out.write_all(b"first")
        })
        .unwrap();
    assert_eq!(fs::read(&file).unwrap(), b"first");
}

#[test]
fn places_that_are_no_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let said = |path: &Path| write(path, "x").unwrap_err().to_string();
    let shown = |path: &Path| path.display().to_string();
    fs::create_dir(at("folder")).unwrap();
    for path in [at("folder"), folder.path().join("new/"), PathBuf::from("/"), PathBuf::from("..")] {
        assert_eq!(
            said(&path),
            format!("cannot write {}: it is a directory, expected a regular file or nothing", shown(&path))
        );
    }
    let nowhere = at("not/there");
    assert!(
        said(&nowhere).starts_with(&format!("cannot write {}: No such file", shown(&nowhere))),
        "{}",
        said(&nowhere)
    );
    #[cfg(unix)]
    {
        let pipe = at("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        std::os::unix::fs::symlink("/dev/null", at("link to a device")).unwrap();
        for (path, kind) in [
            (PathBuf::from("/dev/null"), "a device"),
            (PathBuf::from("/dev/full"), "a device"),
            (pipe, "a pipe"),
            (at("socket"), "a socket"),
            (at("link to a device"), "a device"),
        ] {
            assert_eq!(
                said(&path),
                format!("cannot write {}: it is {kind}, expected a regular file or nothing", shown(&path))
            );
        }
        std::os::unix::fs::symlink("nothing", at("dead")).unwrap();
        assert_eq!(
            said(&at("dead")),
            format!("cannot write {}: it is a link to nothing, where nothing is", shown(&at("dead")))
        );
        std::os::unix::fs::symlink("/etc/hostname", partial(&at("a"))).unwrap();
        let linked = write(at("a"), "x").unwrap_err();
        assert!(matches!(linked, WriteError::NotAFile { found: "a link", .. }), "{linked}");
    }
    fs::write(at("protected"), "mine").unwrap();
    let mut permissions = fs::metadata(at("protected")).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(at("protected"), permissions).unwrap();
    assert!(said(&at("protected")).ends_with("the file there is write-protected"));
    assert_eq!(fs::read(at("protected")).unwrap(), b"mine");
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_permissions_kept() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("elsewhere")).unwrap();
    fs::write(at("elsewhere/real"), "before").unwrap();
    fs::set_permissions(at("elsewhere/real"), fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink("elsewhere/real", at("link")).unwrap();
    write(at("link"), "after").unwrap();
    assert!(at("link").is_symlink());
    assert_eq!(fs::read(at("elsewhere/real")).unwrap(), b"after");
    assert_eq!(fs::metadata(at("elsewhere/real")).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(
        (names(folder.path()), names(&at("elsewhere"))),
        (vec!["elsewhere".to_owned(), "link".to_owned()], vec!["real".to_owned()])
    );
}

#[test]
fn an_input_is_refused_under_whatever_name() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("model")).unwrap();
    fs::write(at("blob"), "weights").unwrap();
    fs::hard_link(at("blob"), at("model/hard.safetensors")).unwrap();
    let mut ways = vec![at("blob"), at("model/hard.safetensors"), at("model/../model/hard.safetensors")];
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("../blob", at("model/model.safetensors")).unwrap();
        std::os::unix::fs::symlink("model", at("other name")).unwrap();
        ways.extend([at("model/model.safetensors"), at("other name/model.safetensors")]);
    }
    for way in ways {
        for input in [at("model"), at("blob")] {
            let refused = Target::new(&way).unwrap().apart_from([&input]).unwrap_err();
            assert!(matches!(refused, WriteError::Input { .. }), "{refused}");
            let said = refused.to_string();
            assert!(said.starts_with(&format!("cannot write {}: it is ", way.display())), "{said}");
            assert!(said.ends_with(", which is read here"), "{said}");
        }
    }
    fs::write(at("free"), "").unwrap();
    // A folder that is read gets nothing new either, under whatever name it is given.
    let mut inside = vec![at("model/new.safetensors"), at("model/../model/new")];
    #[cfg(unix)]
    inside.push(at("other name/new"));
    for new in inside {
        let refused = Target::new(&new).unwrap().apart_from([&at("model")]).unwrap_err();
        assert!(matches!(refused, WriteError::Inside { .. }), "{refused}");
        let (new, model) = (new.display(), at("model"));
        let expected = format!("cannot write {new}: it would lie in {}, which is read here", model.display());
        assert_eq!(refused.to_string(), expected);
    }
    fs::create_dir(at("model/within")).unwrap();
    for free in [at("free"), at("model/within/new"), at("new")] {
        Target::new(&free).unwrap().apart_from([at("model"), at("blob"), at("not there")]).unwrap();
    }
}

/// What lies where a file is filled would be taken for what a killed process left, and removed.
#[test]
fn an_input_may_not_lie_where_a_file_is_filled() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a");
    let input = partial(&file);
    fs::write(&input, "picture").unwrap();
    let said = Target::new(&file).unwrap().apart_from([&input]).unwrap_err().to_string();
    assert!(said.contains("which is read here"), "{said}");
    assert_eq!(fs::read(&input).unwrap(), b"picture");
}

#[test]
fn the_program_that_runs_is_not_written() {
    let program = std::env::current_exe().unwrap();
    let mut names = vec![program];
    if cfg!(target_os = "linux") {
        names.push(PathBuf::from("/proc/self/exe"));
    }
    for name in names {
        let said = Target::new(&name).unwrap_err().to_string();
        assert!(said.ends_with("it is this program"), "{said}");
    }
}

#[test]
fn tensors_are_the_bytes_of_the_library() {
    let floats: Vec<u8> = [1.0_f32, -2.5, 3.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let views = || {
        [
            ("b", TensorView::new(Dtype::F32, vec![3, 1], &floats).unwrap()),
            ("a", TensorView::new(Dtype::U8, vec![2], &[7, 8]).unwrap()),
            ("c", TensorView::new(Dtype::I64, vec![], &[0; 8]).unwrap()),
            ("empty", TensorView::new(Dtype::F32, vec![0, 4], &[]).unwrap()),
        ]
    };
    for about in [None, Some(("key".to_owned(), "a \"text\"".to_owned()))] {
        let mut ours = Vec::new();
        write_tensors(&mut ours, views(), &about.clone().into_iter().collect()).unwrap();
        let theirs = safetensors::serialize(views(), about.map(|about| [about].into())).unwrap();
        assert_eq!(ours, theirs);
    }
    let refused = |name: &'static str| {
        let view = || TensorView::new(Dtype::U8, vec![1], &[0]).unwrap();
        write_tensors(&mut io::sink(), [(name, view()), ("x", view())], &[].into()).unwrap_err().to_string()
    };
    for name in ["x", "__metadata__"] {
        assert_eq!(refused(name), format!("no two tensors may be named `{name}`, and none `__metadata__`"));
    }
    struct Short;
    impl safetensors::View for Short {
        fn dtype(&self) -> Dtype {
            Dtype::F32
        }
        fn shape(&self) -> &[usize] {
            &[2]
        }
        fn data(&self) -> std::borrow::Cow<'_, [u8]> {
            vec![0; 4].into()
        }
        fn data_len(&self) -> usize {
            8
        }
    }
    let said = write_tensors(&mut io::sink(), [("short", Short)], &[].into()).unwrap_err().to_string();
    assert_eq!(said, "`short`: 4 bytes came of 8");
}

/// What a child does that may write files of 64 KiB at most, as on a disk that is full.
#[test]
fn child_on_a_full_disk() {
    let Ok(folder) = std::env::var("MMLENS_FULL_CHILD") else { return };
    let folder = Path::new(&folder);
    let said = write(folder.join("a"), vec![1; 1 << 17]).unwrap_err().to_string();
    assert!(
        said.starts_with(&format!("cannot write {}: File too large", folder.join("a").display())),
        "{said}"
    );
    let (mut journal, _) = Journal::open(&folder.join("lines")).unwrap();
    let line = "x".repeat(20_000);
    let failed = (0..9).find_map(|_| journal.append(&line).err()).unwrap();
    assert_eq!(failed.kind(), io::ErrorKind::FileTooLarge);
    // What is short enough still fits behind the last whole line.
    journal.append("short").unwrap();
}

#[cfg(unix)]
#[test]
fn a_full_disk_leaves_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a"), "whole").unwrap();
    let limited = r#"trap '' XFSZ; ulimit -f 128; exec "$0" "$@""#;
    let output = Command::new("sh")
        .args(["-c", limited])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "child_on_a_full_disk"])
        .env("MMLENS_FULL_CHILD", folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(fs::read(folder.path().join("a")).unwrap(), b"whole");
    assert_eq!(names(folder.path()), ["a", "lines"]);
    // `sh` counts in blocks of 512 bytes, or of 1024: three lines fit, or six.
    let lines = Journal::read(&folder.path().join("lines")).unwrap();
    let (last, long) = lines.split_last().unwrap();
    assert_eq!(last, "short");
    assert!([3, 6].contains(&long.len()) && long.iter().all(|line| line.len() == 20_000), "{}", long.len());
}

/// What a child says of a folder that it may not write into.
#[cfg(unix)]
#[test]
fn child_in_a_read_only_folder() {
    let Ok(folder) = std::env::var("MMLENS_READ_ONLY_CHILD") else { return };
    let folder = Path::new(&folder);
    for file in [folder.join("a"), folder.join("new")] {
        let error = write(&file, "x").unwrap_err();
        assert!(matches!(error, WriteError::Io { .. }), "{error}");
        let said = error.to_string();
        assert!(said.starts_with(&format!("cannot write {}: Permission denied", file.display())), "{said}");
    }
    let run = |folder: &Path| RunFolder::begin(folder, BTreeMap::new(), []).unwrap_err().to_string();
    let said = run(folder);
    let aside = folder.join("mmlens-unfinished");
    assert!(said.starts_with(&format!("{}: Permission denied", aside.display())), "{said}");
    let said = run(&folder.join("run"));
    assert!(said.starts_with(&format!("cannot make {}/run: Permission denied", folder.display())), "{said}");
    let journal = Journal::open(&folder.join("lines")).unwrap_err();
    assert_eq!(journal.kind(), io::ErrorKind::PermissionDenied);
}

#[cfg(unix)]
#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let folder = ReadOnly::holding(|folder| fs::write(folder.join("a"), "whole").unwrap());
    let mut child = folder.kept_from(Command::new(std::env::current_exe().unwrap()));
    child.args(["--exact", "child_in_a_read_only_folder"]).env("MMLENS_READ_ONLY_CHILD", folder.path());
    let output = child.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    assert_eq!(folder.names(), [PathBuf::from("a")]);
    assert_eq!(fs::read(folder.path().join("a")).unwrap(), b"whole");
}
