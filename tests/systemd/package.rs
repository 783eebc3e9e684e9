//! The Debian package and the operations guide, as an operator meets them.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::boxes::{SystemBox, copy, programs};
use crate::support::rig::{IMAGE_CONFIG, Ran, write};

/// The packages of this source in two versions, made by `systemd/package` of the programs under test.
pub struct Packages {
    inside: SystemBox,
    dir: tempfile::TempDir,
}

impl Packages {
    /// An error says what is missing here.
    pub fn make() -> Result<Self, String> {
        let missing =
            |program: &str| !Command::new("which").arg(program).output().is_ok_and(|out| out.status.success());
        for program in ["dpkg-deb", "apt-get", "python3", "gzip"] {
            if missing(program) {
                return Err(format!("{program} is not installed"));
            }
        }
        if !Command::new("python3").args(["-c", "import tomllib"]).output().is_ok_and(|out| out.status.success()) {
            return Err("python3 is older than 3.11".to_owned());
        }
        let inside = SystemBox::boot()?;
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        Ok(Self { inside, dir })
    }

    /// One version, at `/root` of the box; its name.
    fn version(&self, version: &str) -> String {
        // A copy of what the script reads: two of them may run at once.
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let source = self.dir.path().join(version);
        std::fs::create_dir(&source).expect("made");
        for name in ["Cargo.toml", "README.md", "LICENSE", "config", "systemd", "docs"] {
            let copied = Ran::of(Command::new("cp").arg("-r").arg(root.join(name)).arg(&source));
            assert_eq!(copied.code, 0, "{}", copied.err);
        }
        let made = Ran::of(
            Command::new(source.join("systemd/package"))
                .arg(programs()[0].parent().expect("a directory"))
                .env("DEB_VERSION", version)
                .env("DEB_COMPRESSION", "none"),
        );
        assert_eq!(made.code, 0, "{}{}", made.out, made.err);
        let package: PathBuf = source.join(made.out.trim());
        let name = package.file_name().expect("a name").to_str().expect("UTF-8").to_owned();
        copy(&package, &self.inside.path("/root").join(&name));
        name
    }

    fn users(&self) {
        self.inside.ok("useradd --system --create-home label-studio; useradd oona; useradd somebody");
        // Not ours, and slow: man-db's index of all pages of the machine.
        self.inside.ok("rm -f /var/lib/man-db/auto-update");
        self.inside.ok("mkdir -p /srv/in /srv/out /srv/annotations && chown label-studio: /srv/out /srv/annotations");
        write(&self.inside.path("/srv/config.xml"), IMAGE_CONFIG);
    }
}

/// What a test of the package leaves on the disk: everything but what changes by itself.
fn traces(inside: &SystemBox) -> String {
    inside.ok(
        "find /etc /usr /var /run -xdev \\( -path /var/lib/dpkg -o -path /var/log -o -path /var/cache \\) -prune \
         -o -iname '*labelsync*' -print -o -name 'lsctl*' -print -o -name _lsctl -print | grep -v '^/var/lib/systemd/timers' || true; \
         getent passwd labelsyncd; getent group labelsyncd labelsync; true",
    )
}

pub fn a_package_is_installed_upgraded_removed_and_purged(packages: Packages) {
    let inside = &packages.inside;
    packages.users();
    let before = traces(inside);
    let first = packages.version("0.1.0-1");
    let second = packages.version("0.1.0-2");
    inside.ok(&format!("cd /root && DEBIAN_FRONTEND=noninteractive apt-get install -y ./{first}"));
    assert_eq!(inside.run("systemctl is-enabled labelsyncd labelsyncd.socket").out, "enabled\nenabled\n");
    assert_eq!(inside.show("ActiveState"), "inactive", "it waits for its first project");
    for page in ["8 labelsyncd", "1 lsctl", "5 labelsyncd.toml"] {
        let shown =
            inside.run(&format!("man -w {page} 2>/dev/null || ls /usr/share/man/man{}/", page.replacen(' ', "/", 1)));
        assert_eq!(shown.code, 0, "{page}: {}{}", shown.out, shown.err);
    }
    inside.ok("bash -n /usr/share/bash-completion/completions/lsctl; test -s /usr/share/zsh/vendor-completions/_lsctl");
    inside.local_project();
    inside.put("a.png");
    inside.start();
    inside.until_tasks(1);
    let bytes = inside.label(0, "cat");
    inside.until_pushed(0, &bytes);
    // The catalog explains each entry.
    let explained = inside.run("journalctl --sync; journalctl -u labelsyncd -x --no-pager").out;
    assert!(
        explained.contains("Subject: A new task") && explained.contains("Subject: labelsyncd has started"),
        "{explained}"
    );
    assert_eq!(
        inside
            .run("journalctl --dump-catalog --no-pager | grep -c 'Defined-By: labelsync'")
            .out
            .trim()
            .parse::<usize>()
            .unwrap_or(0),
        labelsync::telemetry::ids::all().len()
    );

    // Changed by the operator, upgraded while it runs.
    inside.ok("echo '# mine' >>/etc/labelsyncd/labelsyncd.toml; lsctl set-source cats --regex '.*\\.png'");
    let pid = inside.show("MainPID");
    inside.ok(&format!("cd /root && DEBIAN_FRONTEND=noninteractive apt-get install -y ./{second}"));
    assert_ne!(inside.show("MainPID"), pid, "the new one runs");
    assert_eq!(inside.show("ActiveState"), "active");
    inside.put("b.png");
    inside.until_tasks(2);
    inside.ok("grep -q '# mine' /etc/labelsyncd/labelsyncd.toml && lsctl show cats | grep -q lsctl");

    // Removed and installed again: the same ids, the same settings.
    inside.ok("DEBIAN_FRONTEND=noninteractive apt-get remove -y labelsync");
    assert!(!inside.path("/usr/bin/labelsyncd").exists());
    inside.ok(&format!("cd /root && DEBIAN_FRONTEND=noninteractive apt-get install -y ./{first} --allow-downgrades && systemctl start labelsyncd"));
    inside.until_in_step(1);
    inside.until_tasks(2);
    inside.ok("grep -q '# mine' /etc/labelsyncd/labelsyncd.toml");

    // Purged: only the projects stay.
    let project = inside.ok("cd /srv && find . -type f | sort | xargs sha256sum");
    inside.ok("DEBIAN_FRONTEND=noninteractive apt-get purge -y labelsync");
    assert_eq!(traces(inside), before);
    assert_eq!(inside.ok("cd /srv && find . -type f | sort | xargs sha256sum"), project);
}

/// Where `cargo-deb` is, if it is.
pub fn cargo_deb() -> Result<Packages, String> {
    let found = Command::new("cargo").args(["deb", "--version"]).output();
    if !found.is_ok_and(|found| found.status.success()) {
        return Err("cargo-deb is not installed".to_owned());
    }
    Packages::make()
}

/// What the package holds: modes, owners and names, then its scripts and what it needs.
fn contents(package: &Path) -> String {
    let ran = |program: &str, words: &[&str]| {
        let ran = Ran::of(Command::new(program).args(words).arg(package));
        assert_eq!(ran.code, 0, "{}", ran.err);
        ran.out
    };
    let name = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        // cargo-deb writes owners as numbers, and no entry for the root.
        let owner = words[1].replace("root/root", "0/0");
        let name = words[5].trim_start_matches("./").to_owned();
        (!name.is_empty()).then(|| format!("{name} {} {owner}", words[0]))
    };
    let mut files: Vec<String> = ran("dpkg-deb", &["-c"]).lines().filter_map(name).collect();
    files.sort();
    let scripts = ["conffiles", "postinst", "postrm", "prerm"].map(|file| {
        let ran = Ran::of(Command::new("dpkg-deb").arg("-I").arg(package).arg(file));
        assert_eq!(ran.code, 0, "{file}: {}", ran.err);
        ran.out
    });
    let fields = ["Package", "Version", "Architecture", "Section", "Priority"];
    let fields = fields.map(|field| Ran::of(Command::new("dpkg-deb").arg("-f").arg(package).arg(field)).out);
    let needs = Ran::of(Command::new("dpkg-deb").arg("-f").arg(package).arg("Depends")).out;
    let mut needs: Vec<&str> = needs.trim().split(", ").collect();
    needs.sort_unstable();
    [files.join("\n"), scripts.concat(), fields.concat(), needs.join(", ")].join("\n")
}

/// `cargo deb` and `systemd/package` make the same of the one list in Cargo.toml.
pub fn cargo_deb_makes_the_same_package(packages: Packages) {
    let ours = packages.version("0.1.0-1");
    let source = packages.dir.path().join("0.1.0-1");
    let ours = source.join("target/package").join(ours);
    // cargo-deb wants a package whose sources are there, and its programs where cargo puts them.
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in ["Cargo.lock", "daemon", "ctl", "benches", "tests"] {
        let copied = Ran::of(Command::new("cp").arg("-r").arg(root.join(name)).arg(&source));
        assert_eq!(copied.code, 0, "{}", copied.err);
    }
    let release = source.join("target/release");
    std::fs::create_dir_all(&release).expect("made");
    for program in programs() {
        copy(program, &release.join(program.file_name().expect("a name")));
    }
    let theirs = packages.dir.path().join("cargo.deb");
    let words = ["deb", "--no-build", "--no-strip", "--fast", "--deb-version", "0.1.0-1", "--output"];
    let made = Ran::of(Command::new("cargo").args(words).arg(&theirs).current_dir(&source));
    assert_eq!(made.code, 0, "{}{}", made.out, made.err);
    assert_eq!(contents(&theirs), contents(&ours));

    // And apt takes it.
    copy(&theirs, &packages.inside.path("/srv/cargo.deb"));
    packages.users();
    packages
        .inside
        .ok("cd /srv && DEBIAN_FRONTEND=noninteractive apt-get install -y ./cargo.deb && lsctl version || test $? = 3");
    assert_eq!(packages.inside.run("systemctl is-enabled labelsyncd labelsyncd.socket").out, "enabled\nenabled\n");
}

/// Every block of `docs/operations.md`, in its order.
pub fn the_operations_guide_is_what_happens(packages: Packages) {
    let inside = &packages.inside;
    packages.users();
    let package = packages.version("0.1.0-1");
    let guide =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md")).expect("there");
    let blocks: Vec<&str> =
        guide.split("\n```sh\n").skip(1).map(|rest| rest.split_once("\n```").expect("an end").0).collect();
    assert!(blocks.len() >= 12, "{blocks:?}");
    inside.put("a.png");
    let mut ids = None;
    for block in blocks {
        let script = block
            .replace("sudo apt install", "DEBIAN_FRONTEND=noninteractive apt-get install -y")
            .replace("labelsync_0.1.0-1_amd64.deb", &package)
            .replace("sudo ", "");
        let ran = inside.run(&format!("set -e; export KEY_ID=a SECRET=b; cd /root; {script}"));
        assert_eq!(ran.code, 0, "{block}\nprinted {}{}\n{}", ran.out, ran.err, inside.log());
        if block.contains("init cats") {
            // Its label config is set in Label Studio.
            inside.ok("runuser -u label-studio -- cp /srv/config.xml /srv/annotations/cats/config.xml");
            inside.until_tasks(1);
            let bytes = inside.label(0, "cat");
            inside.until_in_step(1);
            ids = Some(bytes);
        }
    }
    inside.until_in_step(1);
    let object = std::fs::read(inside.path("/srv/out/done/0")).expect("there");
    assert_eq!(Some(object), ids, "moved, with its ids");
}
