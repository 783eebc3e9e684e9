//! Directories that are named by another path than their own.
//!
//! Promise: what lies in the same place is the same, whatever it is called.
//! Not here: buckets.

use super::{load_texts, problems};

/// By a link, and with the prefix as part of the directory.
#[test]
fn l11_a_directory_is_known_by_whatever_path_it_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = |name: &str| dir.path().join(name).display().to_string();
    for name in ["out/done", "cats", "dogs"] {
        std::fs::create_dir_all(at(name)).expect("made");
    }
    for (there, link) in [("out/done", "link"), ("cats", "alias")] {
        std::os::unix::fs::symlink(at(there), at(link)).expect("made");
    }
    let project = |name: &str, path: &str, target: &str, prefix: &str| {
        let (path, target) = (at(path), at(target));
        format!(
            "[projects.{name}]\npath='{path}'\n[projects.{name}.target]\ntype='local'\npath='{target}'\nprefix='{prefix}'\n"
        )
    };
    let cats = project("cats", "cats", "out", "done");
    assert!(load_texts(&[("x", &(cats.clone() + &project("dogs", "dogs", "out", "dogs")))]).is_ok());
    for (dogs, path) in [
        (project("dogs", "dogs", "link", ""), "projects.dogs.target.prefix"),
        (project("dogs", "dogs", "out/done", "x"), "projects.dogs.target.prefix"),
        (project("dogs", "alias", "out", "dogs"), "projects.dogs.path"),
    ] {
        let problems = problems(&(cats.clone() + &dogs));
        assert_eq!(problems.iter().map(|problem| problem.path.as_str()).collect::<Vec<_>>(), [path], "{dogs}");
    }
    let problems = problems(&project("cats", "cats", "alias", "x"));
    assert_eq!(problems.iter().map(|problem| problem.path.as_str()).collect::<Vec<_>>(), ["projects.cats.target.path"]);
}

#[test]
fn a_directory_as_storage_is_not_the_project_itself() {
    let with = |path: &str| format!("[projects.c]\npath='/p/c'\n[projects.c.target]\ntype='local'\npath='{path}'\n");
    for good in ["/out", "/p/c2", "/p/c/out"] {
        assert!(load_texts(&[("x", &with(good))]).is_ok(), "{good}");
    }
    for bad in ["/p/c", "/p", "/", "/p/c/completions", "/p/c/source/x"] {
        assert_eq!(problems(&with(bad))[0].path, "projects.c.target.path", "{bad}");
    }
    for outside in ["/../etc", "out", "", "/a/../b"] {
        assert_eq!(problems(&with(outside)).len(), 1, "{outside}");
    }
    let source = "[projects.c]\npath='/p/c'\n[projects.c.source]\ntype='local'\npath='/in'\nprefix='PREFIX'\n";
    for (prefix, good) in
        [("a/b/", true), ("", true), ("../x", false), ("/a", false), ("a//b", false), ("a/./b", false)]
    {
        assert_eq!(load_texts(&[("x", &source.replace("PREFIX", prefix))]).is_ok(), good, "{prefix}");
    }
}
